"""Voice-activity detection frame by frame, with the probabilities of `detect_speech`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from megaasr.audio.waveform import Samples
from megaasr.transcribe.chunking import VAD_FRAME
from megaasr.transcribe.speech_activity import WARM_UP_FRAMES

_GROUP_FRAMES = 4  # 128 ms: half the cost of single frames
_GROUP = _GROUP_FRAMES * VAD_FRAME


@dataclass(frozen=True, slots=True)
class DetectedFrame:
    """A frame of 32 ms.

    Attributes:
        samples: float32 of shape [512], 16 kHz mono; the last of a stream may be shorter.
        probability: probability of speech, 0..1.
    """

    samples: Samples
    probability: float


class OnlineSpeechDetector:
    """Detects speech in a stream, always in groups of four frames.

    The network is warmed up with the first second in reverse, as offline. So the first frames come
    after one second, and all others with their group.
    """

    def __init__(self) -> None:
        from megaasr.transcribe.silero_vad import DetectorState  # imports torch

        self._state = DetectorState()
        self._is_warm = False
        self._waiting = np.zeros(0, dtype=np.float32)

    def add(self, samples: Samples) -> Iterator[DetectedFrame]:
        """Yield the frames that are complete.

        Args:
            samples: the next samples, float32 of shape [time], 16 kHz mono.
        """
        self._waiting = np.concatenate([self._waiting, samples])
        if not self._is_warm:
            if len(self._waiting) < WARM_UP_FRAMES * VAD_FRAME:
                return
            self._warm_up(WARM_UP_FRAMES)
        groups = len(self._waiting) // _GROUP
        ready, self._waiting = np.split(self._waiting, [groups * _GROUP])
        for start in range(0, len(ready), _GROUP):
            yield from self._detect(ready[start : start + _GROUP].copy())

    def finish(self) -> Iterator[DetectedFrame]:
        """Yield the last frames, of which the very last may be incomplete."""
        if not self._is_warm:
            self._warm_up(len(self._waiting) // VAD_FRAME)
        rest, self._waiting = self._waiting, np.zeros(0, dtype=np.float32)
        for start in range(0, len(rest), _GROUP):
            yield from self._detect(rest[start : start + _GROUP].copy())

    def _warm_up(self, frames: int) -> None:
        from megaasr.transcribe.silero_vad import continue_probabilities

        continue_probabilities(self._waiting[: frames * VAD_FRAME][::-1], self._state)
        self._is_warm = True

    def _detect(self, samples: Samples) -> Iterator[DetectedFrame]:
        from megaasr.transcribe.silero_vad import continue_probabilities

        probabilities = continue_probabilities(samples, self._state).tolist()
        for number, probability in enumerate(probabilities):
            yield DetectedFrame(samples[number * VAD_FRAME : (number + 1) * VAD_FRAME], probability)
