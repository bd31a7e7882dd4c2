"""Recognise integer samples that were stored as floats without being scaled to ±1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_FLOAT_PEAK = 100.0
"""Largest plausible peak of float samples, +40 dBFS; larger ones are integers or no sound."""

_FULL_SCALES = (2.0**15, 2.0**23, 2.0**31)
_HEADROOM = 4.0  # processing may leave peaks above full scale
_MIN_SHARE = 0.05  # of the samples that exceed 1: all integers but 0 do, floats only where damaged


class FloatLevels:
    """The levels of float samples, collected chunk by chunk.

    Attributes:
        peak: largest magnitude of finite samples.
    """

    def __init__(self) -> None:
        self.peak = 0.0
        self._nonzero = self._above_1 = 0

    def add(self, samples: NDArray[Any]) -> None:
        """Add samples of any shape, at least one."""
        peak = max(float(samples.max()), -float(samples.min()))
        if peak <= MAX_FLOAT_PEAK:
            self.peak = max(self.peak, peak)
            return
        # NaN, an infinite sample or a high one; only such chunks decide.
        magnitudes = np.abs(samples[np.isfinite(samples)])
        self.peak = max(self.peak, float(magnitudes.max(initial=0.0)))
        self._nonzero += int(np.count_nonzero(magnitudes))
        self._above_1 += int(np.count_nonzero(magnitudes >= 1))

    @property
    def full_scale(self) -> float:
        """1 if they are floats, else 2**15, 2**23 or 2**31, the full scale of the integers.

        It is the first of them that the peak exceeds by no more than 12 dB; 1 if it exceeds all,
        or if only a few samples exceed 1, which are damaged.
        """
        if self.peak <= MAX_FLOAT_PEAK or self._above_1 < _MIN_SHARE * self._nonzero:
            return 1.0
        return next((scale for scale in _FULL_SCALES if self.peak <= scale * _HEADROOM), 1.0)
