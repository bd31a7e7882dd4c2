"""Which branch of the model hears a stretch of audio, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from megaasr.model.interface import Route

THRESHOLD = 0.5
"""Probability of "degraded" from which on the robust branch hears a piece."""

RouteChoice = Literal["auto", "base", "robust", "both"]
"""Which branch hears a piece: the one that the router chooses (and the other where its text is
suspicious), one alone, or both, of which the less suspicious or else the surer text is kept."""


@dataclass(frozen=True, slots=True)
class RouteDecision:
    """Which branch hears a stretch of audio, and why.

    Attributes:
        route: `base` or `robust`.
        degraded_probability: 0..1, of the router; None if nobody asked it.
        threshold: from which on the route is `robust`; None if nobody asked.
        reason: in a few words.
    """

    route: Route
    degraded_probability: float | None = None
    threshold: float | None = None
    reason: str = ""


NO_ROUTER = RouteDecision("base", reason="there is no router, or no adapter to route to")
"""What is decided where nothing can be."""
