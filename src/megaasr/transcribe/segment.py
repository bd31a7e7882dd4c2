"""Cut a stream of audio into pieces of at most 30 s, at quiet places, with bounded memory.

Where a piece ends depends only on the samples, never on how the stream was divided into blocks:
every decision is made on the same 31 s of audio after the last cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.model.interface import Samples

MAX_PIECE_S = 30.0
"""No piece is longer than this, in seconds."""
VAD_FRAME = 512
"""Samples of one probability of speech: 32 ms."""
SPEECH = 0.5
"""From this probability on a frame counts as speech (the default of Silero VAD)."""
SILENCE_DBFS = -75.0
"""A piece whose peak stays at or below this level holds nothing to hear (5 steps of 16 bits)."""

_SEARCH_FROM_S = 15.0  # a piece that is cut off is at least this long
_LAST_PIECE_S = 1.0  # what follows a cut is at least this long
_FRAME_SAMPLES = SAMPLE_RATE // 100  # 10 ms
_SPOT_FRAMES = 10  # 100 ms: the shortest quiet spot worth cutting in
_PAUSE_FRAMES = 20  # 200 ms: shorter gaps are often closed consonants, inside words
_LONG_PAUSE_FRAMES = 50  # 500 ms: from here on, one pause is as good as another
_PAUSE_DEPTH_DB = 10.0  # a pause is at least this far below the speech around it
_PAUSE_SLACK = 0.25  # quiet is the lowest quarter, in dB, between the floor and the speech
_MAYBE_SPEECH = 0.1  # low: what is trimmed is lost
_MARGIN_S = 0.5  # kept around what may be speech
_TRIMMED_S = 2.0  # a shorter stretch at an end is not worth trimming
_FLOOR_DBFS = -70.0  # below this, differences in level mean nothing


class SpeechDetector(Protocol):
    """Hears where somebody speaks, as `megaasr.transcribe.speech_activity.detect_speech`."""

    def __call__(self, samples: Samples, /) -> NDArray[np.float32]:
        """Return float32 [frames], the probability of speech in every 32 ms of [time]."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a recording, short enough for the model.

    Attributes:
        offset: how many samples of the recording come before it.
        samples: float32 [time], 16 kHz, at least 1 and at most 480,000 of them.
        speech: float32 [frames], probability of speech in every 32 ms; None without VAD.
    """

    offset: int
    samples: Samples
    speech: NDArray[np.float32] | None = None

    @property
    def start_s(self) -> float:
        """Where the piece starts, in seconds from the start of the recording."""
        return self.offset / SAMPLE_RATE

    @property
    def end_s(self) -> float:
        """Where the piece ends and the next one starts, exactly."""
        return (self.offset + len(self.samples)) / SAMPLE_RATE

    @property
    def speech_probability(self) -> float | None:
        """The highest probability of speech, 0..1; None without VAD."""
        return None if self.speech is None else float(self.speech.max(initial=0.0))

    @property
    def speech_s(self) -> float | None:
        """Seconds in which somebody speaks; None without VAD."""
        if self.speech is None:
            return None
        return int((self.speech >= SPEECH).sum()) * VAD_FRAME / SAMPLE_RATE

    def spoken_part(self) -> Samples:
        """Return the samples without long stretches at either end in which surely nobody speaks.

        Models were trained on speech, not on half a minute of noise around a sentence: they find no
        words in it. Up to `_TRIMMED_S` stay, and everything does without VAD.
        """
        if self.speech is None:
            return self.samples
        heard = np.flatnonzero(self.speech >= _MAYBE_SPEECH)
        if not len(heard):
            return self.samples
        margin = int(_MARGIN_S * SAMPLE_RATE)
        first = max(0, int(heard[0]) * VAD_FRAME - margin)
        last = min(len(self.samples), (int(heard[-1]) + 1) * VAD_FRAME + margin)
        least = int(_TRIMMED_S * SAMPLE_RATE)
        return self.samples[
            first if first >= least else 0 : last if len(self.samples) - last >= least else None
        ]


def cut(blocks: Iterable[Samples], detector: SpeechDetector | None = None) -> Iterator[Piece]:
    """Cut a stream into pieces of at most 30 s.

    A recording of up to 30 s stays one piece. A longer one is cut in the best pause (see
    `quiet_place`) between 15 and 30 s after the last cut; only a whole recording can be a piece
    of less than 1 s. The pieces joined are the stream, sample for sample. Memory: 31 s of audio
    and one block.

    Args:
        blocks: float32 [time] at 16 kHz, of any lengths, zero included.
        detector: hears where somebody speaks; pauses are then where nobody does.
    """
    longest = int(MAX_PIECE_S * SAMPLE_RATE)
    last = int(_LAST_PIECE_S * SAMPLE_RATE)
    ahead = _LookAhead(blocks)
    offset = 0
    while len(window := ahead.peek(longest + last)):
        length = len(window)
        speech = None if detector is None else detector(window)
        if length > longest:
            searched = window[: min(longest, length - last)]
            length = (speech is not None and speech_pause(speech, len(searched))) or quiet_place(
                searched
            )
        part = None if speech is None else speech[: max(1, length // VAD_FRAME)].copy()
        # A copy, so that a piece waiting in a queue does not keep a long block alive.
        yield Piece(offset, window[:length].copy(), part)
        ahead.drop(length)
        offset += length


def speech_pause(speech: NDArray[np.float32], length: int) -> int | None:
    """Return where to cut so that nobody is interrupted, or None if somebody speaks throughout.

    The middle of the longest stretch without speech of 0.2 s or more, at least 15 s from the
    start; as in `quiet_place`, 0.5 s and more count as equal, and of equals the last wins.

    Args:
        speech: float32 [frames], probability of speech in every 32 ms.
        length: samples that may be searched.
    """
    first = int(_SEARCH_FROM_S * SAMPLE_RATE) // VAD_FRAME + 1
    quiet = speech[first : length // VAD_FRAME] < SPEECH
    edges = np.flatnonzero(np.diff(quiet.astype(np.int8), prepend=0, append=0))
    least, most = (
        frames * _FRAME_SAMPLES // VAD_FRAME for frames in (_PAUSE_FRAMES, _LONG_PAUSE_FRAMES)
    )
    pauses = [
        (min(end - start, most), (start + end) // 2)
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        if end - start >= least
    ]
    return (first + max(pauses)[1]) * VAD_FRAME if pauses else None


def middle_pause(samples: Samples) -> int:
    """Return the quietest place in the middle half, as an index.

    Args:
        samples: float32 [time] at 16 kHz, at least 1 s.
    """
    first = len(samples) // 4
    count = len(samples) // 2 // _FRAME_SAMPLES
    searched = samples[first : first + count * _FRAME_SAMPLES].reshape(count, _FRAME_SAMPLES)
    power = np.square(searched, dtype=np.float64).mean(axis=1)
    spots = sliding_window_view(power, _SPOT_FRAMES).mean(axis=1)
    return first + (int(np.argmin(spots)) + _SPOT_FRAMES // 2) * _FRAME_SAMPLES


def quiet_place(samples: Samples) -> int:
    """Return where to cut, as an index into `samples`, at least 15 s from their start.

    The middle of the longest pause of 0.2 s or more; pauses of 0.5 s and more count as equal, and
    of equals the last wins. Where nobody pauses, the middle of the quietest 100 ms.

    Args:
        samples: float32 [time] at 16 kHz, more than 15.1 s of them.
    """
    first = int(_SEARCH_FROM_S * SAMPLE_RATE)
    frames = (len(samples) - first) // _FRAME_SAMPLES
    searched = samples[first : first + frames * _FRAME_SAMPLES].reshape(frames, _FRAME_SAMPLES)
    power = np.square(searched, dtype=np.float64).mean(axis=1)
    power = np.maximum(power, 10.0 ** (_FLOOR_DBFS / 10.0))
    spots = 10.0 * np.log10(sliding_window_view(power, _SPOT_FRAMES).mean(axis=1))
    levels = 10.0 * np.log10(power)
    middle = _best_pause(levels, floor_db=float(spots.min()))
    if middle is None:
        last_quietest = len(spots) - 1 - int(np.argmin(spots[::-1]))
        middle = last_quietest + _SPOT_FRAMES // 2
    return first + middle * _FRAME_SAMPLES


def is_silent(samples: Samples) -> bool:
    """Tell whether there is nothing to hear, so that the model need not be asked.

    The peak decides, not the RMS: a single quiet word in 30 s must not be lost. It is measured
    around the middle of the range, so that a constant offset is silence too.

    Args:
        samples: float32 [time], nominally within -1..1; none at all is silent.

    Returns:
        True if the peak is at or below -75 dBFS (`SILENCE_DBFS`).
    """
    if not len(samples):
        return True
    peak = (float(samples.max()) - float(samples.min())) / 2.0
    return bool(peak <= 10.0 ** (SILENCE_DBFS / 20.0))


def _best_pause(levels_db: NDArray[np.float64], floor_db: float) -> int | None:
    """Return the middle frame of the best pause, or None where there is none.

    Args:
        levels_db: float64 [frames], the level of every 10 ms.
        floor_db: the level of the quietest 100 ms.
    """
    speech_db = float(np.percentile(levels_db, 95))
    if speech_db - floor_db < _PAUSE_DEPTH_DB:
        return None
    quiet = levels_db <= floor_db + _PAUSE_SLACK * (speech_db - floor_db)
    edges = np.flatnonzero(np.diff(quiet.astype(np.int8), prepend=0, append=0))
    pauses = [
        (min(end - start, _LONG_PAUSE_FRAMES), (start + end) // 2)
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        if end - start >= _PAUSE_FRAMES
    ]
    return max(pauses)[1] if pauses else None


class _LookAhead:
    """A stream of blocks, read as far ahead as asked and no further."""

    def __init__(self, blocks: Iterable[Samples]) -> None:
        self._blocks = iter(blocks)
        self._held = np.zeros(0, dtype=np.float32)

    def peek(self, count: int) -> Samples:
        """Return the next `count` samples, fewer only at the end of the stream."""
        parts, length = [self._held], len(self._held)
        while length < count and (block := next(self._blocks, None)) is not None:
            parts.append(np.asarray(block, dtype=np.float32))
            length += len(block)
        if len(parts) > 1:
            self._held = np.concatenate(parts)
        return self._held[:count]

    def drop(self, count: int) -> None:
        """Forget the next `count` samples."""
        self._held = self._held[count:]
