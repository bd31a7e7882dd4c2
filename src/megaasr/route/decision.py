"""Which branch of the model decodes a chunk, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from megaasr.model.interface import Route

THRESHOLD = 0.5
"""Probability of degraded audio from which the router selects the robust branch."""

RouteChoice = Literal["auto", "base", "robust", "both"]
"""How the branch is selected: `auto` by the router (and the other branch if the text is
unreliable); `base` or `robust` only this branch; `both` decodes with both and keeps the better
text."""


@dataclass(frozen=True, slots=True)
class RouteDecision:
    """The branch selected for a chunk.

    Attributes:
        route: selected branch, `base` or `robust`.
        degraded_probability: the router's probability of degraded audio, 0..1; None if the router
            did not decide.
        threshold: probability from which the robust branch is selected; None if the router did not
            decide.
        reason: short explanation.
    """

    route: Route
    degraded_probability: float | None = None
    threshold: float | None = None
    reason: str = ""


NO_ROUTER = RouteDecision("base", reason="there is no router, or no adapter to route to")
"""The decision of a model without a router or without an adapter."""
