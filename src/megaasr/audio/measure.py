"""Levels of audio in memory.

A constant of ±1 is full scale, 0 dBFS; a sine of amplitude 1 has -3.01 dBFS.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megaasr.errors import UsageError

_FRAME_S = 0.02
_ACTIVE_RANGE_DB = 30.0  # below the reference frame
_REFERENCE_QUANTILE = 0.95


def peak(samples: NDArray[np.floating[Any]]) -> float:
    """Return the largest magnitude in a float array [time]; 0.0 for silence.

    Raises:
        UsageError: there are no samples, or the array has more than one dimension.
    """
    return float(np.abs(_checked(samples)).max())


def rms_dbfs(samples: NDArray[np.floating[Any]]) -> float:
    """Return the root mean square of a float array [time] in dBFS; -inf for silence.

    Raises:
        UsageError: there are no samples, or the array has more than one dimension.
    """
    return _decibel(float(np.mean(np.square(_checked(samples), dtype=np.float64))))


def active_speech_level_dbfs(samples: NDArray[np.floating[Any]], sample_rate: int) -> float:
    """Return the level of the speech without its pauses in dBFS; -inf for silence.

    It is the RMS over the 20 ms frames that lie within 30 dB of the clip's 95th-percentile
    frame, so that pauses do not lower it and a single click does not raise it. A remainder
    shorter than a frame is ignored; a clip shorter than a frame is one frame.

    Args:
        samples: float array [time], at least one sample.
        sample_rate: sample rate of `samples` in Hz.

    Raises:
        UsageError: there are no samples, the array has more than one dimension, or the rate is
            not positive.
    """
    if sample_rate <= 0:
        raise UsageError(f"sample_rate must be above 0 Hz, got {sample_rate}")
    power = np.square(_checked(samples), dtype=np.float64)
    length = min(power.size, max(1, round(_FRAME_S * sample_rate)))
    count = power.size // length
    return _decibel(active_power(power[: count * length].reshape(count, length).mean(axis=1)))


def active_power(frames: NDArray[np.float64]) -> float:
    """Return the mean power of the frames with speech; 0.0 for silence.

    Args:
        frames: mean square of each 20 ms frame [frames], at least one frame.
    """
    # Interpolates as numpy's percentile does, which takes five times as long.
    rank = _REFERENCE_QUANTILE * (len(frames) - 1)
    below = int(rank)
    above = min(below + 1, len(frames) - 1)
    low, high = np.partition(frames, (below, above))[[below, above]].tolist()
    # The percentile is 0 if less than a twentieth of the clip is not silent: use the loudest frame.
    reference = (low + (rank - below) * (high - low)) or float(frames.max())
    return float(frames[frames >= reference * 10 ** (-_ACTIVE_RANGE_DB / 10)].mean())


def _checked(samples: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    if samples.ndim != 1 or not samples.size:
        raise UsageError(f"samples must be [time] with at least one, got {list(samples.shape)}")
    return samples


def _decibel(power: float) -> float:
    return 10 * math.log10(power) if power > 0 else -math.inf
