"""Process the output of a decoder: mix chunks of frames to mono, cut them into blocks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.waveform import AudioTruncatedWarning, Samples, require_finite

CHUNK_VALUES = 2**18
"""Values (frames times channels) in one chunk: 1 MiB, whatever the number of channels."""

# `warnings.catch_warnings` acts on all threads, and would swallow warnings of the others.
_truncation_messages: ContextVar[list[str] | None] = ContextVar(
    "_truncation_messages", default=None
)


@dataclass(frozen=True, slots=True)
class Pcm:
    """A running decoder.

    Attributes:
        rate: sample rate of the source in Hz.
        channels: number of channels, at least 1.
        chunks: float32 arrays [frames, channels] of at least one frame. The decoder may reuse
            their buffer: use or copy a chunk before requesting the next.
    """

    rate: int
    channels: int
    chunks: Iterator[NDArray[np.float32]]


def chunk_frames(channels: int) -> int:
    """Return the number of frames in a chunk with this many channels."""
    return max(1, CHUNK_VALUES // channels)


def mono(pcm: Pcm, label: str) -> Iterator[Samples]:
    """Mix each chunk to mono, the mean of its channels; yields float32 arrays [frames].

    Raises:
        AudioFormatError: a sample is NaN, infinite or above 1e12 in magnitude; names its time.
    """
    offset = 0
    for chunk in pcm.chunks:
        # Summed in float64, so that the mean of equal channels is exactly that channel, and no
        # sum of finite samples overflows (a non-finite sample always leaves a non-finite mean).
        mixed = chunk[:, 0].astype(np.float64)
        for channel in range(1, pcm.channels):
            mixed += chunk[:, channel]
        mixed /= pcm.channels
        require_finite(mixed, pcm.rate, label, offset=offset)
        offset += mixed.size
        yield mixed.astype(np.float32)


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


@contextmanager
def collect_truncations() -> Iterator[list[str]]:
    """Collect the messages of `warn_truncated` in this thread; the warnings are issued, too."""
    messages: list[str] = []
    token = _truncation_messages.set(messages)
    try:
        yield messages
    finally:
        _truncation_messages.reset(token)


def warn_truncated(label: str, decoded_s: float, stated_s: float | None, reason: str) -> None:
    """Issue an `AudioTruncatedWarning`: part of the recording could not be decoded.

    Args:
        label: name of the recording.
        decoded_s: length of the decoded part in seconds.
        stated_s: length that the file states in seconds; None if it is unknown.
        reason: why decoding stopped.
    """
    if stated_s is None:
        extent = f"{decoded_s:.2f} s were decoded, but sound may be missing"
    else:
        extent = f"only {decoded_s:.2f} s of {stated_s:.2f} s could be decoded"
    message = f"{label}: {extent}: {reason}; fetch or export the file again if you can"
    if (messages := _truncation_messages.get()) is not None:
        messages.append(message)
    warnings.warn(message, AudioTruncatedWarning, stacklevel=2)
