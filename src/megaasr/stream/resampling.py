"""Samples of any rate to 16 kHz, as they come."""

from __future__ import annotations

import numpy as np
import soxr

from megaasr.audio.waveform import SAMPLE_RATE, Samples

_BLOCKS_PER_S = 50
_QUALITY = "HQ"  # as for files


class Resampler:
    """Resamples a stream; however it is divided, the result is the same.

    Args:
        sample_rate: samples per second of the stream.
    """

    def __init__(self, sample_rate: int) -> None:
        self._stream: soxr.ResampleStream | None = None
        if sample_rate != SAMPLE_RATE:
            self._stream = soxr.ResampleStream(
                sample_rate, SAMPLE_RATE, 1, dtype="float32", quality=_QUALITY
            )
        # Blocks of one length, so that rounding cannot depend on how the stream was divided.
        self._block = sample_rate // _BLOCKS_PER_S
        self._waiting = np.zeros(0, dtype=np.float32)

    def add(self, samples: Samples) -> Samples:
        """Return the next samples at 16 kHz, float32 of shape [time]; perhaps none yet.

        Args:
            samples: the next samples of the stream, float32 of shape [time].
        """
        if self._stream is None:
            return samples
        self._waiting = np.concatenate([self._waiting, samples])
        count = len(self._waiting) // self._block
        blocks = self._waiting[: count * self._block].reshape(count, self._block)
        self._waiting = self._waiting[count * self._block :].copy()
        return _joined([self._stream.resample_chunk(block) for block in blocks])

    def finish(self) -> Samples:
        """Return the last samples at 16 kHz, float32 of shape [time]."""
        if self._stream is None:
            return np.zeros(0, dtype=np.float32)
        return _joined([self._stream.resample_chunk(self._waiting, last=True)])


def _joined(parts: list[Samples]) -> Samples:
    return np.concatenate([np.zeros(0, dtype=np.float32), *parts])
