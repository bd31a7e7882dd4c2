"""The output of a decoder: chunks of frames; repair them, and cut samples into blocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.scale import MAX_FLOAT_PEAK, FloatLevels
from megaasr.audio.tracks import Hole
from megaasr.audio.waveform import Samples

CHUNK_VALUES = 2**18
"""Values (frames times channels) in one chunk: 1 MiB, whatever the number of channels."""


@dataclass(slots=True)
class Ending:
    """How decoding ended; complete once the chunks are exhausted.

    Attributes:
        decoded_s: length of the decoded sound in seconds.
        stated_s: length that the file states in seconds; None if it is unknown.
        problem: why sound is missing; "" if none is.
        stopped: whether the missing sound is at the end, and not in between.
    """

    decoded_s: float = 0.0
    stated_s: float | None = None
    problem: str = ""
    stopped: bool = True


@dataclass(frozen=True, slots=True)
class Pcm:
    """A running decoder.

    Attributes:
        rate: sample rate of the source in Hz.
        channels: number of channels, at least 1.
        positions: positions of the channels, such as `FL`; () if they are unknown.
        chunks: float32 arrays [frames, channels] of at least one frame. The decoder may reuse
            their buffer: use or copy a chunk before requesting the next.
        ending: how decoding ended.
        float_levels: levels of the samples, if the file stores floats; None for all others.
    """

    rate: int
    channels: int
    positions: tuple[str, ...]
    chunks: Iterator[NDArray[np.float32]]
    ending: Ending
    float_levels: FloatLevels | None = None


def chunk_frames(channels: int) -> int:
    """Return the number of frames in a chunk with this many channels."""
    return max(1, CHUNK_VALUES // channels)


def skipped(chunks: Iterator[NDArray[np.float32]], frames: int) -> Iterator[NDArray[np.float32]]:
    """Yield the chunks without their first frames."""
    for chunk in chunks:
        if frames < len(chunk):
            yield chunk[frames:]
        frames = max(0, frames - len(chunk))


def with_holes(
    chunks: Iterator[NDArray[np.float32]], holes: Sequence[Hole], rate: int, channels: int
) -> Iterator[NDArray[np.float32]]:
    """Yield the chunks with silence where the time stamps have holes.

    Args:
        chunks: decoded frames [frames, channels].
        holes: the holes in order.
        rate: sample rate in Hz.
        channels: number of channels.
    """
    waiting = deque(holes)
    frames = 0
    for chunk in chunks:
        while waiting and round(waiting[0].at_s * rate) <= frames + len(chunk):
            hole = waiting.popleft()
            split = max(0, round(hole.at_s * rate) - frames)
            if split:
                yield chunk[:split]
                frames += split
                chunk = chunk[split:]  # noqa: PLW2901 (the rest of it)
            yield from _silence(round(hole.length_s * rate), channels)
        if len(chunk):
            yield chunk
            frames += len(chunk)


def _silence(frames: int, channels: int) -> Iterator[NDArray[np.float32]]:
    size = chunk_frames(channels)
    for start in range(0, frames, size):
        yield np.zeros((min(size, frames - start), channels), np.float32)


class Repair:
    """Replaces samples that are not numbers, and scales integers that were stored as floats.

    Args:
        scale: factor of all samples.

    Attributes:
        invalid: number of samples, in any channel, that were replaced by silence.
        first_invalid: index of the first frame that holds one.
        frames: number of frames that were processed.
    """

    def __init__(self, scale: float) -> None:
        self.invalid = self.first_invalid = self.frames = 0
        self._scale = np.float32(scale)
        self._limit = np.float32(MAX_FLOAT_PEAK / scale)

    def __call__(self, chunk: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the frames [frames, channels] with finite samples of at most 100."""
        # Avoids a copy: NaN makes both extremes NaN, and comparisons with NaN are false.
        if not (chunk.max() <= self._limit and chunk.min() >= -self._limit):
            valid = np.abs(chunk) <= self._limit
            if not self.invalid:
                self.first_invalid = self.frames + int(np.argmin(valid.all(axis=1)))
            self.invalid += int(valid.size - np.count_nonzero(valid))
            chunk = np.where(valid, chunk, np.float32(0))
        self.frames += len(chunk)
        return chunk if self._scale == 1 else chunk * self._scale


def recut(chunks: Iterator[Samples], size: int) -> Iterator[Samples]:
    """Regroup chunks of any length into new arrays of `size` samples; the last may be shorter."""
    pending: list[Samples] = []
    count = 0
    for chunk in chunks:
        start = 0
        while count + chunk.size - start >= size:
            stop = start + size - count
            yield np.concatenate([*pending, chunk[start:stop]])
            pending, count, start = [], 0, stop
        if start < chunk.size:
            pending.append(chunk[start:])
            count += chunk.size - start
    if pending:
        yield np.concatenate(pending)
