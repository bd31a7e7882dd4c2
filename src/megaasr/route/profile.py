"""Routing profile: the route and threshold that `mega-asr calibrate` fitted to a user's audio."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.errors import UsageError
from megaasr.hashing import file_sha256
from megaasr.hub import ONLINE, HubOptions
from megaasr.model.hub import find_model_parts
from megaasr.route.decision import RouteChoice

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class RoutingProfile:
    """A route and a threshold for one router.

    Attributes:
        route: `auto`, or the one branch that decodes everything.
        threshold: probability of degraded audio, 0..1, from which the robust branch is selected.
        model: name of the model that the profile was fitted with.
        router_sha256: SHA-256 of the router's file; None if the model has no router.
        measured: results of the fit, for people.
    """

    route: Literal["auto", "base", "robust"]
    threshold: float
    model: str
    router_sha256: str | None
    measured: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the profile as JSON."""
        text = strict_json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, ensure_ascii=False)
        write_atomically(path, text + "\n")

    @classmethod
    def read(cls, path: Path) -> RoutingProfile:
        """Read a profile.

        Raises:
            UsageError: the file does not exist, or is not a profile of this version.
        """
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record.pop("schema") != SCHEMA:
                raise UsageError(f"{path}: a profile of another version; run mega-asr calibrate")
            profile = cls(**record)
        except OSError as error:
            raise UsageError(f"profile {path}: {error.strerror or error}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(f"{path} is no profile of mega-asr calibrate: {error}") from error
        valid_route = profile.route in ("auto", "base", "robust")
        if not valid_route or not isinstance(profile.threshold, int | float):
            raise UsageError(f"{path} is no profile of mega-asr calibrate: route or threshold")
        if not 0.0 <= profile.threshold <= 1.0:
            raise UsageError(f"{path}: the threshold {profile.threshold} is not from 0 to 1")
        return profile

    def over(self, route: RouteChoice, threshold: float | None) -> tuple[RouteChoice, float | None]:
        """Return the requested route and threshold, or the fitted ones if none were requested."""
        if route != "auto" or threshold is not None:
            return route, threshold
        return self.route, self.threshold

    def require(self, model: str | Path, hub: HubOptions = ONLINE) -> None:
        """Raise if the profile was fitted for another router than a model's.

        Args:
            model: name of the model.
            hub: how a model on the hub is found.

        Raises:
            ModelError: there is no such model.
            UsageError: the routers differ, so the profile is meaningless for the model.
        """
        if router_sha256(model, hub) != self.router_sha256:
            raise UsageError(
                f"the profile was fitted with the router of {self.model}, and {model} has another "
                "one; run mega-asr calibrate with it"
            )


def router_sha256(model: str | Path, hub: HubOptions = ONLINE) -> str | None:
    """Return the SHA-256 of a model's router; None if the model has no router."""
    path = find_model_parts(model, hub).router
    return None if path is None else file_sha256(path)
