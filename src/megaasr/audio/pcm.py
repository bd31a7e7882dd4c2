"""Decoded sound on its way from a decoder: chunks of frames, mixed to mono, cut into blocks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.waveform import AudioTruncatedWarning, require_finite

CHUNK_VALUES = 2**18
"""Numbers (frames times channels) decoded at once: 1 MiB, whatever the number of channels."""

# Not `warnings.catch_warnings`: that is one for all threads, and would take the warnings of others.
_noted: ContextVar[list[str] | None] = ContextVar("_noted", default=None)


@dataclass(frozen=True, slots=True)
class Pcm:
    """A running decoder.

    Attributes:
        rate: samples per second of the source.
        channels: at least 1.
        chunks: float32 [frames, channels], each at least one frame long. The decoder may fill
            the same buffer again: use or copy a chunk before the next one is asked for.
    """

    rate: int
    channels: int
    chunks: Iterator[NDArray[np.float32]]


def chunk_frames(channels: int) -> int:
    """Return how many frames of so many channels make one chunk."""
    return max(1, CHUNK_VALUES // channels)


def mono(pcm: Pcm, label: str) -> Iterator[NDArray[np.float32]]:
    """Mix each chunk down to the plain mean of its channels: float32 [frames].

    Raises:
        AudioFormatError: a sample is NaN, infinite or above 1e12; names its time.
    """
    offset = 0
    for chunk in pcm.chunks:
        # Summed in float64, so that the mean of equal channels is exactly one of them, and no
        # sum of finite samples overflows (a non-finite sample always leaves a non-finite mean).
        mixed = chunk[:, 0].astype(np.float64)
        for channel in range(1, pcm.channels):
            mixed += chunk[:, channel]
        mixed /= pcm.channels
        require_finite(mixed, pcm.rate, label, offset=offset)
        offset += mixed.size
        yield mixed.astype(np.float32)


def recut(chunks: Iterator[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
    """Cut chunks of any length into new arrays of `size` samples; the last may be shorter."""
    held: list[NDArray[np.float32]] = []
    count = 0
    for chunk in chunks:
        start = 0
        while count + chunk.size - start >= size:
            stop = start + size - count
            yield np.concatenate([*held, chunk[start:stop]])
            held, count, start = [], 0, stop
        if start < chunk.size:
            held.append(chunk[start:])
            count += chunk.size - start
    if held:
        yield np.concatenate(held)


@contextmanager
def noting_truncation() -> Iterator[list[str]]:
    """Collect what `warn_truncated` says in this thread; it goes on to warn as well."""
    messages: list[str] = []
    before = _noted.set(messages)
    try:
        yield messages
    finally:
        _noted.reset(before)


def warn_truncated(label: str, decoded_s: float, promised_s: float | None, why: str) -> None:
    """Tell the caller that a part of the recording is missing from what was decoded."""
    if promised_s is None:
        what = f"{decoded_s:.2f} s were decoded, but sound may be missing"
    else:
        what = f"only {decoded_s:.2f} s of {promised_s:.2f} s could be decoded"
    message = f"{label}: {what}: {why}; fetch or export the file again if you can"
    if (noted := _noted.get()) is not None:
        noted.append(message)
    warnings.warn(message, AudioTruncatedWarning, stacklevel=2)
