"""Gains that change over time: levels of short frames, and gains interpolated between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.simulate import kernels

FRAME_MS = 5
FRAME = FRAME_MS * SAMPLE_RATE // 1000
"""Samples in a frame of 5 ms."""

_FLOOR = 1e-12  # -120 dBFS


def frame_levels_db(x: Samples) -> NDArray[np.float64]:
    """Return the RMS of every frame of 5 ms in dBFS, float64 array [frames]; -120 for silence.

    Args:
        x: contiguous float32 array [time], 16 kHz mono, at least one sample; a remainder counts as
            a frame.
    """
    sums = np.empty(-(-len(x) // FRAME))
    padded = np.zeros(len(sums) * FRAME, np.float32)
    padded[: len(x)] = x
    kernels.loops.frame_sums(padded, FRAME, sums)
    return np.asarray(10 * np.log10(np.maximum(sums / FRAME, _FLOOR)))


def apply_gains(x: Samples, gains: NDArray[np.float64]) -> None:
    """Multiply x in place by gains, which are reached at the ends of the frames.

    A frame is known when it has ended; the gain changes linearly from there, so that no gain
    depends on later frames.

    Args:
        x: contiguous float32 array [time].
        gains: factor for every frame of 5 ms [frames], as `frame_levels_db` counts them.
    """
    starts = np.concatenate([gains[:1], gains[:-1]])
    ramp = np.arange(FRAME) / FRAME
    curve = starts[:, np.newaxis] + (gains - starts)[:, np.newaxis] * ramp
    x *= curve.ravel()[: len(x)].astype(np.float32)
