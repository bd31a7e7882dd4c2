"""Stretches that may be speech, although the detector is not sure enough to begin an utterance.

Badly degraded speech often stays below the threshold of an utterance. Such a stretch is gathered
and given out when it is over, to be decoded once, as `transcribe` decodes whatever may be speech.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from megaasr.audio.waveform import Samples
from megaasr.stream.online_speech_activity import DetectedFrame
from megaasr.transcribe.chunking import NO_SPEECH_THRESHOLD, POSSIBLE_SPEECH_THRESHOLD


@dataclass(frozen=True, slots=True)
class DoubtfulStretch:
    """A stretch that may be speech, and is over.

    Attributes:
        start: index in the stream of its first sample.
        samples: float32 of shape [time], 16 kHz mono, at most the longest utterance.
        speech_end: index in the stream of the sample after its last frame that may be speech.
    """

    start: int
    samples: Samples
    speech_end: int


class DoubtfulSpeech:
    """Gathers the frames between utterances of a stream from where they may be speech.

    A stretch lasts while there are frames of at least `NO_SPEECH_THRESHOLD`, as offline. It is
    given out only if a frame reaches `POSSIBLE_SPEECH_THRESHOLD`, below which the checks would not
    believe its text.

    Args:
        end_frames: frames below the first threshold that end a stretch.
        max_frames: frames of the longest stretch.
        pre_roll_frames: frames that are kept before a stretch.
    """

    def __init__(self, end_frames: int, max_frames: int, pre_roll_frames: int) -> None:
        self._end_frames, self._max_frames = end_frames, max_frames
        self._pre_roll_frames = pre_roll_frames
        self._frames: list[DetectedFrame] = []
        self._quiet_frames = 0  # at the end
        self._has_begun = False

    def add(self, frame: DetectedFrame, position: int) -> Iterator[DoubtfulStretch]:
        """Take a frame outside utterances, and yield the stretch that it ends.

        Args:
            frame: the next frame.
            position: number of samples of the stream up to its end.
        """
        self._frames.append(frame)
        if frame.probability >= NO_SPEECH_THRESHOLD:
            self._has_begun = True
            self._quiet_frames = 0
        else:
            self._quiet_frames += 1
        if not self._has_begun:
            del self._frames[: -self._pre_roll_frames]
        elif self._quiet_frames >= self._end_frames or len(self._frames) >= self._max_frames:
            yield from self.stop(position)

    def stop(self, position: int, taken_frames: int = 0) -> Iterator[DoubtfulStretch]:
        """Yield the present stretch, and begin anew.

        Args:
            position: number of samples of the stream up to the end of the last frame.
            taken_frames: last frames that belong to an utterance that begins. A stretch in which
                nothing else may be speech is not given out.
        """
        count = max(0, len(self._frames) - taken_frames)
        frames, taken = self._frames[:count], self._frames[count:]
        self._frames, self._quiet_frames, self._has_begun = [], 0, False
        probabilities = [frame.probability for frame in frames]
        if max(probabilities, default=0.0) >= POSSIBLE_SPEECH_THRESHOLD:
            samples = np.concatenate([frame.samples for frame in frames])
            end = position - sum(len(frame.samples) for frame in taken)
            quiet = next(
                n for n, p in enumerate(reversed(probabilities)) if p >= NO_SPEECH_THRESHOLD
            )
            after = sum(len(frame.samples) for frame in frames[count - quiet :])
            yield DoubtfulStretch(end - len(samples), samples, end - after)
