"""Recognise integer samples that were stored as floats without being scaled to ±1."""

from __future__ import annotations

MAX_FLOAT_PEAK = 100.0
"""Largest plausible peak of float samples, +40 dBFS; larger ones are integers."""

_FULL_SCALES = (2.0**15, 2.0**23, 2.0**31)
_HEADROOM = 4.0  # processing may leave peaks above full scale


def integer_scale(peak: float) -> float:
    """Return the full scale of float samples: 1 if they are floats, else that of the integers.

    Args:
        peak: largest magnitude of all samples.

    Returns:
        1, or 2**15, 2**23 or 2**31: the first of them that the peak exceeds by no more than 12 dB.
        1 as well for a peak that exceeds them all.
    """
    if peak <= MAX_FLOAT_PEAK:
        return 1.0
    return next((scale for scale in _FULL_SCALES if peak <= scale * _HEADROOM), 1.0)
