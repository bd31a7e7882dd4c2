"""What the names of subsets and scenarios say: category, language, real or simulated."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from megaasr.errors import RecordError
from megaasr.simulate.conditions import CONDITIONS
from megaasr.simulate.scenarios import CLEAN

Origin = Literal["real", "simulated"]
MIXED = "mixed"
# In the order of the published table.
CATEGORIES = (
    "noise",
    "far_field",
    "obstructed",
    "echo",
    "recording",
    "distortion",
    "dropout",
    MIXED,
)
_ORIGINS: dict[str, Origin] = {
    "sim": "simulated",
    "syn": "simulated",
    "simulated": "simulated",
    "synthetic": "simulated",
    "real": "real",
}
_PUBLIC = {condition.legacy: condition.name for condition in CONDITIONS}
# ISO 639-1 codes that a subset's name may hold; the bench has English and Mandarin.
_LANGUAGES = ("en", "zh", "yue")


@dataclass(frozen=True, slots=True)
class Subset:
    """What a subset's name says; None for what it leaves out."""

    origin: Origin | None
    language: str | None
    category: str


def parse_subset(name: str, source_scenes: object = None) -> Subset:
    """Read `sim-en-noise`, `real-zh-mixed`, or a split of the hub's release such as `syn_noise`.

    Args:
        name: the subset; legacy names of conditions are understood.
        source_scenes: what the clip was made of; more than one makes it `mixed`.

    Raises:
        RecordError: the category is none of the eight.
    """
    parts = [part for part in re.split(r"[-_\s]+", name.lower()) if part]
    origin = next((_ORIGINS[part] for part in parts if part in _ORIGINS), None)
    language = next((part for part in parts if part in _LANGUAGES), None)
    rest = "_".join(p for p in parts if p not in _ORIGINS and p not in _LANGUAGES)
    category = _PUBLIC.get(rest, rest)
    if _scenes(source_scenes) > 1:
        category = MIXED
    if category not in CATEGORIES:
        raise RecordError(
            f"subset {name!r}: {rest or 'nothing'} is no category; there are "
            f"{', '.join(CATEGORIES)} (and {', '.join(sorted(_PUBLIC))})"
        )
    return Subset(origin, language, category)


def category_of_scenario(scenario: str) -> str:
    """Return the category of a simulated clip: its one condition, `mixed` for compounds."""
    return MIXED if "+" in scenario else _PUBLIC.get(scenario, scenario)


def _scenes(value: object) -> int:
    if isinstance(value, str):
        return len([one for one in re.split(r"[+,;\s]+", value) if one])
    return len(value) if isinstance(value, Sequence) else 0


__all__ = [
    "CATEGORIES",
    "CLEAN",
    "MIXED",
    "Origin",
    "Subset",
    "category_of_scenario",
    "parse_subset",
]
