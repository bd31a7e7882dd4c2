"""How a user's own audio is best routed: what `mega-asr calibrate` found, for later runs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from megaasr.atomic import write_atomically
from megaasr.errors import UsageError
from megaasr.hashing import file_sha256
from megaasr.model.hub import find_model
from megaasr.model.parts import find_parts
from megaasr.route.decision import RouteChoice

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class RoutingProfile:
    """A route and a threshold for one router.

    Attributes:
        route: `auto`, or the one branch that hears everything.
        threshold: 0..1, of the router.
        model: that it was fitted with, as it was named.
        router_sha256: of the router's file; None if the model has none.
        measured: what the fit found, for people.
    """

    route: Literal["auto", "base", "robust"]
    threshold: float
    model: str
    router_sha256: str | None
    measured: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        text = json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, ensure_ascii=False)
        write_atomically(path, text + "\n")

    @classmethod
    def read(cls, path: Path) -> RoutingProfile:
        """Read a profile.

        Raises:
            UsageError: there is none, or it is no profile that this version knows.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found.pop("schema") != SCHEMA:
                raise UsageError(f"{path}: a profile of another version; run mega-asr calibrate")
            profile = cls(**found)
        except OSError as error:
            raise UsageError(f"profile {path}: {error.strerror or error}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(f"{path} is no profile of mega-asr calibrate: {error}") from error
        known = profile.route in ("auto", "base", "robust")
        if not known or not isinstance(profile.threshold, int | float):
            raise UsageError(f"{path} is no profile of mega-asr calibrate: route or threshold")
        if not 0.0 <= profile.threshold <= 1.0:
            raise UsageError(f"{path}: the threshold {profile.threshold} is not from 0 to 1")
        return profile

    def over(self, route: RouteChoice, threshold: float | None) -> tuple[RouteChoice, float | None]:
        """Return route and threshold: what was asked for, else what was fitted."""
        if route != "auto" or threshold is not None:
            return route, threshold
        return self.route, self.threshold

    def require(self, model: str | Path, *, offline: bool = False) -> None:
        """Raise if a model has another router than the one that this was fitted for.

        Raises:
            ModelError: there is no such model.
            UsageError: the routers differ; what was found for one means nothing for another.
        """
        if router_sha256(model, offline=offline) != self.router_sha256:
            raise UsageError(
                f"the profile was fitted with the router of {self.model}, and {model} has another "
                "one; run mega-asr calibrate with it"
            )


def router_sha256(model: str | Path, *, offline: bool = False) -> str | None:
    """Return the hash of a model's router; None if it has none."""
    path = find_parts(find_model(str(model), offline=offline)).router
    return None if path is None else file_sha256(path)
