"""Where utterances begin and end: endpointing by the probability of speech of each frame.

An utterance begins half a second before the first of three frames with speech. It ends after
silence; from half of the longest utterance on a shorter silence is enough, and at its full length
it is divided in the quietest place of its last quarter, with the rest going on as a new utterance.
Between utterances, stretches that may be speech are gathered (`doubtful_speech`). The decisions
depend on the frames alone. At most one utterance is held in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.stream.doubtful_speech import DoubtfulSpeech, DoubtfulStretch
from megaasr.stream.online_speech_activity import DetectedFrame
from megaasr.transcribe.chunking import VAD_FRAME, find_pause, find_speech_gap

_FRAMES_PER_S = SAMPLE_RATE / VAD_FRAME
_PRE_ROLL_FRAMES = 16  # 0.5 s, what offline keeps around possible speech
_ONSET_FRAMES = 3  # clicks have fewer frames in a row
_HYSTERESIS = 0.15  # speech that is going on may be less probable (Silero VAD's value)
_LATE_SILENCE_S = 0.3
_DIVIDED_PART = 0.75  # the part of the longest utterance after which it is divided

Ending = Literal["silence", "length", "finish"]
"""Why an utterance ended: silence, the longest utterance, or the end of the stream."""


@dataclass(frozen=True, slots=True)
class Onset:
    """Speech that began.

    Attributes:
        start: index in the stream of the utterance's first sample.
    """

    start: int


@dataclass(frozen=True, slots=True)
class LiveUtterance:
    """The audio of an utterance that ended.

    Attributes:
        start: index in the stream of its first sample.
        samples: float32 of shape [time], 16 kHz mono, at most the longest utterance.
        speech_end: index in the stream of the sample after its last frame with speech.
        ending: why it ended.
    """

    start: int
    samples: Samples
    speech_end: int
    ending: Ending


Boundary: TypeAlias = Onset | LiveUtterance | DoubtfulStretch


class Endpointer:
    """Divides a stream into utterances.

    Args:
        end_silence_s: seconds of silence that end an utterance.
        max_utterance_s: length of the longest utterance in seconds, at least 2.
        threshold: probability of speech from which a frame counts as speech, 0..1.

    Attributes:
        position: number of samples of the stream so far.
        speech_frames: number of frames with speech in the present utterance.
    """

    def __init__(self, end_silence_s: float, max_utterance_s: float, threshold: float) -> None:
        self.position = 0
        self.speech_frames = 0
        self._end_frames = _frames(end_silence_s)
        self._late_frames = _frames(min(end_silence_s, _LATE_SILENCE_S))
        self._max_frames = int(max_utterance_s * _FRAMES_PER_S)
        self._divided_s = _DIVIDED_PART * self._max_frames / _FRAMES_PER_S
        self._threshold = threshold
        self._before: deque[DetectedFrame] = deque(maxlen=_PRE_ROLL_FRAMES + _ONSET_FRAMES)
        self._frames: list[DetectedFrame] = []  # of the present utterance
        self._onset = 0
        self._silence = 0
        self._doubtful = DoubtfulSpeech(self._end_frames, self._max_frames, _PRE_ROLL_FRAMES)

    @property
    def is_open(self) -> bool:
        """Whether an utterance is going on."""
        return bool(self._frames)

    @property
    def is_speaking(self) -> bool:
        """Whether the last frame has speech."""
        return self.is_open and not self._silence

    @property
    def may_commit(self) -> bool:
        """Whether all speech so far is sure to be in this utterance, however it ends."""
        return len(self._frames) < self._divided_s * _FRAMES_PER_S

    def samples(self) -> Samples:
        """Return the present utterance so far, float32 of shape [time]."""
        return np.concatenate([frame.samples for frame in self._frames])

    def add(self, frame: DetectedFrame) -> Iterator[Boundary]:
        """Yield what a frame began or ended."""
        self.position += len(frame.samples)
        if not self.is_open:
            self._before.append(frame)
            self._onset = self._onset + 1 if frame.probability >= self._threshold else 0
            for doubtful in self._doubtful.add(frame, self.position):
                self._drop_before(doubtful.speech_end)
                yield doubtful
            if self._onset >= _ONSET_FRAMES:
                yield from self._doubtful.stop(self.position, len(self._before))
                self._open(list(self._before))
                self._before.clear()
                self._onset = 0
                yield Onset(self._start())
            return
        self._frames.append(frame)
        if frame.probability >= self._threshold - _HYSTERESIS:
            self._silence = 0
            self.speech_frames += 1
        else:
            self._silence += 1
        length = len(self._frames)
        if self._silence >= (
            self._end_frames if length < self._max_frames / 2 else self._late_frames
        ):
            yield self._close("silence")
        elif length >= self._max_frames:
            yield self._divide()

    def finish(self) -> Iterator[Boundary]:
        """Yield what the end of the stream ends."""
        if self.is_open:
            yield self._close("finish")
        else:
            yield from self._doubtful.stop(self.position)

    def _drop_before(self, position: int) -> None:
        """Forget the frames before a position: they are not decoded again with an utterance."""
        start = self.position - sum(len(frame.samples) for frame in self._before)
        while self._before and start < position:
            start += len(self._before.popleft().samples)

    def _open(self, frames: list[DetectedFrame]) -> None:
        self._frames = frames
        quiet = self._threshold - _HYSTERESIS
        spoken = [frame.probability >= quiet for frame in frames]
        self.speech_frames = sum(spoken)
        self._silence = next((i for i, flag in enumerate(reversed(spoken)) if flag), len(spoken))

    def _start(self) -> int:
        return self.position - sum(len(frame.samples) for frame in self._frames)

    def _close(self, ending: Ending) -> LiveUtterance:
        """Return the whole of the present utterance."""
        start, samples = self._start(), self.samples()
        silence = sum(len(f.samples) for f in self._frames[len(self._frames) - self._silence :])
        self._frames = []
        return LiveUtterance(start, samples, start + len(samples) - silence, ending)

    def _divide(self) -> LiveUtterance:
        """Return the first part of the present utterance; the rest goes on if it has speech."""
        start, samples = self._start(), self.samples()
        speech = np.array([frame.probability for frame in self._frames], dtype=np.float32)
        pause = find_speech_gap(speech, len(samples), self._divided_s)
        cut = (pause or find_pause(samples, self._divided_s)) // VAD_FRAME
        rest = self._frames[cut:]
        self._open(rest)
        ending: Ending = "length"
        if self.speech_frames < _ONSET_FRAMES:
            self._before.extend(rest)
            self._frames, ending = [], "silence"
        end = cut * VAD_FRAME
        return LiveUtterance(start, samples[:end], start + end, ending)


def _frames(seconds: float) -> int:
    """Return the number of frames that last at least so many seconds."""
    return max(1, -int(-seconds * _FRAMES_PER_S // 1))
