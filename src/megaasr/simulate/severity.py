"""Severity: one number per clip that sets the parameters of all its primitives.

Every swept parameter of a clip follows the same severity m, 0 (easy) to 1 (hard), so that a hard
clip is hard in every respect (paper, appendix on the data set).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Generic, TypeVar

from megaasr.errors import UsageError

T = TypeVar("T")
# The quantiles 0.05 and 0.95 are mapped to the severities 0 and 1.
_GAUSSIAN = NormalDist(mu=0.5, sigma=1 / (2 * 1.6448536))


class SeverityCurve(StrEnum):
    """Curve that maps a uniform draw to a severity."""

    LINEAR = "linear"
    SQRT_FORWARD = "sqrt-forward"
    SQRT_BACKWARD = "sqrt-backward"
    GAUSSIAN_MID = "gaussian-mid"

    def __call__(self, x: float) -> float:
        """Return the severity for a uniform draw x in 0..1.

        linear: x. sqrt-forward: the square root of x, more hard clips. sqrt-backward: x squared,
        more easy clips. gaussian-mid: a normal quantile around 0.5, clipped to 0..1.

        Raises:
            UsageError: x is not in 0..1.
        """
        check_severity(x)
        if self is SeverityCurve.SQRT_FORWARD:
            return float(x**0.5)
        if self is SeverityCurve.SQRT_BACKWARD:
            return x * x
        if self is SeverityCurve.GAUSSIAN_MID:
            return min(1.0, max(0.0, _GAUSSIAN.inv_cdf(0.05 + 0.9 * x)))
        return x


def check_severity(m: float) -> float:
    """Return the severity m if it is valid.

    Raises:
        UsageError: m is not in 0..1.
    """
    if not 0.0 <= m <= 1.0:  # NaN too
        raise UsageError(f"severity {m}: it must be from 0 (easy) to 1 (hard)")
    return m


@dataclass(frozen=True, slots=True)
class Sweep:
    """A real-valued parameter that changes linearly with severity.

    Attributes:
        easy, hard: values at severity 0 and 1, in the unit of the parameter.
        core: whether the paper marks the parameter as driving the difficulty.
    """

    easy: float
    hard: float
    core: bool = False

    def value_at(self, m: float) -> float:
        """Return the value at severity m; exact at 0 and 1."""
        return (1.0 - m) * self.easy + m * self.hard


@dataclass(frozen=True, slots=True)
class DiscreteSweep(Generic[T]):
    """A parameter that steps through a list of values with severity.

    Attributes:
        options: values from easy to hard, each for an equal range of severities.
        core: whether the paper marks the parameter as driving the difficulty.
    """

    options: Sequence[T]
    core: bool = False

    def value_at(self, m: float) -> T:
        """Return the value at severity m."""
        return self.options[min(int(m * len(self.options)), len(self.options) - 1)]
