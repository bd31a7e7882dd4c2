"""What the confidence of a word depends on beside the model's probability of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """Facts about the segment of a word.

    Attributes:
        mean_logprob: mean log-probability of the tokens of its text; None if unknown.
        degraded_probability: the router's probability, 0..1, of degraded audio; None without one.
    """

    mean_logprob: float | None = None
    degraded_probability: float | None = None


NO_FACTS = SegmentFacts()

Calibrate = Callable[[float, SegmentFacts], float]
"""Maps the model's probability of a word, and the facts of its segment, to its confidence."""


def uncalibrated(probability: float, facts: SegmentFacts) -> float:
    """Return the probability itself: the `Calibrate` of models without a calibration."""
    return probability
