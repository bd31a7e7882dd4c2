"""Severity: one number for a whole clip, and how parameters follow it.

Every swept parameter of every primitive of a clip is set by the same m, 0 (easy) to 1 (hard), so
that a hard clip is hard throughout (paper, appendix on the data set).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Generic, TypeVar

from megaasr.errors import UsageError

T = TypeVar("T")
# The ends 0.05 and 0.95 of the uniform draw shall land on severities 0 and 1.
_GAUSSIAN = NormalDist(mu=0.5, sigma=1 / (2 * 1.6448536))


class Mapping(StrEnum):
    """How a uniform draw becomes a severity."""

    LINEAR = "linear"
    SQRT_FORWARD = "sqrt-forward"
    SQRT_BACKWARD = "sqrt-backward"
    GAUSSIAN_MID = "gaussian-mid"

    def __call__(self, x: float) -> float:
        """Return the severity m in 0..1 for a uniform draw x in 0..1.

        linear: x; sqrt-forward (more hard clips): the root of x; sqrt-backward (more easy ones):
        x squared; gaussian-mid: a normal quantile around 0.5, clipped.
        """
        check_severity(x)
        if self is Mapping.SQRT_FORWARD:
            return float(x**0.5)
        if self is Mapping.SQRT_BACKWARD:
            return x * x
        if self is Mapping.GAUSSIAN_MID:
            return min(1.0, max(0.0, _GAUSSIAN.inv_cdf(0.05 + 0.9 * x)))
        return x


def check_severity(m: float) -> float:
    """Return m.

    Raises:
        UsageError: it is not in 0..1.
    """
    if not 0.0 <= m <= 1.0:  # NaN too
        raise UsageError(f"severity {m}: it must be from 0 (easy) to 1 (hard)")
    return m


@dataclass(frozen=True, slots=True)
class Sweep:
    """A real parameter that goes from an easy to a hard value.

    Attributes:
        easy, hard: its values at severity 0 and 1, in the parameter's unit.
        core: it drives the difficulty (the paper's marking).
    """

    easy: float
    hard: float
    core: bool = False

    def at(self, m: float) -> float:
        """Return the value at severity m; the ends exactly."""
        return (1.0 - m) * self.easy + m * self.hard


@dataclass(frozen=True, slots=True)
class Choice(Generic[T]):
    """A parameter that takes one of some values, from easy to hard.

    Attributes:
        options: the values; m picks the one at that fraction of the list.
        core: it drives the difficulty.
    """

    options: Sequence[T]
    core: bool = False

    def at(self, m: float) -> T:
        """Return the option at severity m."""
        return self.options[min(int(m * len(self.options)), len(self.options) - 1)]
