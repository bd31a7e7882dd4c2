"""Category, language and origin (real or simulated), as the names of subsets and scenarios say."""

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
# ISO 639-1 codes that the name of a subset may contain; the bench has English and Mandarin.
_LANGUAGES = ("en", "zh", "yue")


@dataclass(frozen=True, slots=True)
class Subset:
    """The meaning of a subset's name.

    Attributes:
        origin: `real` or `simulated`; None if the name does not say.
        language: ISO code; None if the name does not say.
        category: one of `CATEGORIES`.
    """

    origin: Origin | None
    language: str | None
    category: str


def parse_subset(name: str, source_scenes: object = None) -> Subset:
    """Parse the name of a subset: `sim-en-noise`, `real-zh-mixed`, or a hub split (`syn_noise`).

    Args:
        name: the subset's name; legacy names of conditions are accepted.
        source_scenes: the scenes that the clip was mixed from, as a list or a separated string;
            more than one makes the category `mixed`.

    Raises:
        RecordError: the category is not one of the eight.
    """
    parts = [part for part in re.split(r"[-_\s]+", name.lower()) if part]
    origin = next((_ORIGINS[part] for part in parts if part in _ORIGINS), None)
    language = next((part for part in parts if part in _LANGUAGES), None)
    condition = "_".join(p for p in parts if p not in _ORIGINS and p not in _LANGUAGES)
    category = _PUBLIC.get(condition, condition)
    if _count_scenes(source_scenes) > 1:
        category = MIXED
    if category not in CATEGORIES:
        raise RecordError(
            f"subset {name!r}: {condition or 'nothing'} is no category; there are "
            f"{', '.join(CATEGORIES)} (and {', '.join(sorted(_PUBLIC))})"
        )
    return Subset(origin, language, category)


def category_of_scenario(scenario: str) -> str:
    """Return the category of a simulated clip: its only condition, or `mixed` if it has several."""
    return MIXED if "+" in scenario else _PUBLIC.get(scenario, scenario)


def _count_scenes(value: object) -> int:
    if isinstance(value, str):
        return len([scene for scene in re.split(r"[+,;\s]+", value) if scene])
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
