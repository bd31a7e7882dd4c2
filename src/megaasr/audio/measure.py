"""Levels of sound in memory. Full scale (0 dBFS) is a constant ±1, so a full sine is -3.01 dBFS."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megaasr.errors import UsageError

_FRAME_S = 0.02
_ACTIVE_BELOW_DB = 30.0
_REFERENCE_SHARE = 0.95


def peak(samples: NDArray[np.floating[Any]]) -> float:
    """Return the largest magnitude of float [time] samples; 0.0 for silence.

    Raises:
        UsageError: no samples, or not one-dimensional.
    """
    return float(np.abs(_checked(samples)).max())


def rms_dbfs(samples: NDArray[np.floating[Any]]) -> float:
    """Return the root mean square of float [time] samples in dBFS; -inf for silence.

    Raises:
        UsageError: no samples, or not one-dimensional.
    """
    return _decibel(float(np.mean(np.square(_checked(samples), dtype=np.float64))))


def active_speech_level_dbfs(samples: NDArray[np.floating[Any]], sample_rate: int) -> float:
    """Return the level of the parts in which somebody speaks, in dBFS; -inf for silence.

    It is the RMS over the 20 ms frames that lie within 30 dB of the clip's 95th-percentile
    frame, so that pauses do not lower it and a single click does not raise it. A rest shorter
    than a frame at the end is left out; a clip shorter than a frame counts as one.

    Args:
        samples: float [time], at least one.
        sample_rate: samples per second.

    Raises:
        UsageError: no samples, not one-dimensional, or a rate that is not positive.
    """
    if sample_rate <= 0:
        raise UsageError(f"sample_rate must be above 0 Hz, got {sample_rate}")
    power = np.square(_checked(samples), dtype=np.float64)
    length = min(power.size, max(1, round(_FRAME_S * sample_rate)))
    count = power.size // length
    return _decibel(active_power(power[: count * length].reshape(count, length).mean(axis=1)))


def active_power(frames: NDArray[np.float64]) -> float:
    """Return the mean power of the frames in which somebody speaks; 0.0 for silence.

    Args:
        frames: the mean square of each 20 ms frame [frames], at least one.
    """
    # Interpolated as numpy's percentile is, which takes five times as long.
    place = _REFERENCE_SHARE * (len(frames) - 1)
    below = int(place)
    above = min(below + 1, len(frames) - 1)
    low, high = np.partition(frames, (below, above))[[below, above]].tolist()
    # If less than a twentieth of the clip sounds at all, the percentile is 0: take the loudest.
    reference = (low + (place - below) * (high - low)) or float(frames.max())
    return float(frames[frames >= reference * 10 ** (-_ACTIVE_BELOW_DB / 10)].mean())


def _checked(samples: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    if samples.ndim != 1 or not samples.size:
        raise UsageError(f"samples must be [time] with at least one, got {list(samples.shape)}")
    return samples


def _decibel(power: float) -> float:
    return 10 * math.log10(power) if power > 0 else -math.inf
