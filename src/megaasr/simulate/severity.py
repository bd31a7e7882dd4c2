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
    """A real-valued parameter that changes linearly with its position: -1 (mild) to 1 (hard).

    Positions from 0 to 1 are the range of a single condition. Compounds may use the milder part
    below 0, see `positions`.

    Attributes:
        easy, hard: values at position 0 and 1, in the unit of the parameter.
        core: whether the paper marks the parameter as driving the difficulty.
        mild: value at position -1; None if the parameter stays at `easy` below 0.
    """

    easy: float
    hard: float
    core: bool = False
    mild: float | None = None

    def value_at(self, position: float) -> float:
        """Return the value at a position, -1 to 1; exact at -1, 0 and 1."""
        if position >= 0:
            return (1.0 - position) * self.easy + position * self.hard
        mild = self.easy if self.mild is None else self.mild
        return (1.0 + position) * self.easy - position * mild


@dataclass(frozen=True, slots=True)
class DiscreteSweep(Generic[T]):
    """A parameter that steps through a list of values with its position: -1 (mild) to 1 (hard).

    Attributes:
        options: values from easy to hard, each for an equal range of the positions from 0 to 1.
        core: whether the paper marks the parameter as driving the difficulty.
        mild: values from milder to easier than the first option, each for an equal range of the
            positions from -1 to 0; empty if the parameter stays at the first option below 0.
    """

    options: Sequence[T]
    core: bool = False
    mild: Sequence[T] = ()

    def value_at(self, position: float) -> T:
        """Return the value at a position, -1 to 1."""
        if position >= 0:
            return self.options[min(int(position * len(self.options)), len(self.options) - 1)]
        values = self.mild or self.options[:1]
        return values[max(0, min(int((position + 1) * len(values)), len(values) - 1))]
