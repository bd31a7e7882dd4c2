"""Which scenario a clip gets: shares of groups, a list, or a grid for test sets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from megaasr.config import Recipe
from megaasr.errors import UsageError
from megaasr.simulate.scenarios import CLEAN, SCENARIOS, find_scenario, scenario_names
from megaasr.simulate.severity import check_severity
from megaasr.simulate.streams import stream, stream_key

FAVOURED = ("far_field+recording", "far_field+dropout", "far_field+noise", "dropout+noise")
"""The four pairs that the paper's scheduler prefers."""

GRID_SEVERITIES = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, slots=True)
class Group:
    """Scenarios that are equally likely.

    Attributes:
        name: `clean`, `single`, `favoured`, `rest` or `listed`.
        share: of all clips, 0..1.
        scenarios: canonical names, at least one if the share is above 0.
    """

    name: str
    share: float
    scenarios: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """What a clip gets.

    Attributes:
        scenario: canonical name.
        severity: 0..1, or None if it is drawn with the clip's other parameters.
    """

    scenario: str
    severity: float | None = None


class Mix(Recipe):
    """How scenarios are shared out.

    `shares` draws a group, then a scenario of it; `listed` draws one of `scenarios`; `grid` goes
    through every scenario and severity in turn, so that each has the same number of clips.
    """

    kind: Literal["shares", "listed", "grid"] = "shares"
    single: float = Field(default=0.60, ge=0, le=1, description="share of the 7 single conditions")
    favoured: float = Field(default=0.24, ge=0, le=1, description="share of `favoured_scenarios`")
    rest: float = Field(
        default=0.16, ge=0, le=1, description="share of all other compounds of the 54"
    )
    clean: float = Field(default=0.0, ge=0, le=1, description="share of all clips that stays clean")
    favoured_scenarios: tuple[str, ...] = Field(
        default=FAVOURED, description="the favoured compounds"
    )
    scenarios: tuple[str, ...] = Field(
        default=(), description="for `listed`; for `grid`: none are all 54"
    )
    severities: tuple[float, ...] = Field(
        default=GRID_SEVERITIES, description="for `grid`, each 0..1"
    )
    clean_cells: int = Field(
        default=1, gt=0, description="for `grid`: cells without degradation, if `clean` is listed"
    )
    single_cells: int = Field(
        default=1, gt=0, description="for `grid`: cells of a single condition at each severity"
    )

    @field_validator("favoured_scenarios", "scenarios")
    @classmethod
    def _canonical(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        found = tuple(find_scenario(name).name for name in names)
        if len(set(found)) < len(found):
            raise UsageError("a scenario is listed twice")
        return found

    @field_validator("severities")
    @classmethod
    def _in_range(cls, severities: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(check_severity(severity) for severity in severities)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        total = self.single + self.favoured + self.rest
        if not math.isclose(total, 1.0, abs_tol=1e-9):
            raise UsageError(
                f"single, favoured and rest must add up to 1 (clean is apart), not {total:g}"
            )
        if not all(len(find_scenario(name).conditions) > 1 for name in self.favoured_scenarios):
            raise UsageError("favoured_scenarios must be compounds")
        if self.kind == "listed" and not self.scenarios:
            raise UsageError("a listed mix needs scenarios")
        for group in self.groups:
            if group.share and not group.scenarios:
                raise UsageError(f"{group.name} has a share, but there is no scenario in it")
        if self.kind == "grid" and not self.severities:
            raise UsageError("a grid needs severities")
        return self

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The groups with their shares of all clips, which add up to 1."""
        if self.kind != "shares":
            return (Group("listed", 1.0, self.scenarios or tuple(scenario_names())),)
        single = tuple(s.name for s in SCENARIOS if len(s.conditions) == 1)
        taken = {*single, *self.favoured_scenarios}
        rest = tuple(name for name in scenario_names() if name not in taken)
        dirty = 1.0 - self.clean
        return (
            Group("single", dirty * self.single, single),
            Group("favoured", dirty * self.favoured, self.favoured_scenarios),
            Group("rest", dirty * self.rest, rest),
            Group("clean", self.clean, (CLEAN,)),
        )

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell of a grid, by scenario and then severity.

        A compound has one cell at each severity, a single condition `single_cells`; `clean`
        has `clean_cells` in all.
        """
        found: list[Cell] = []
        for name in self.groups[0].scenarios:
            if name == CLEAN:
                found += [Cell(name, 0.0)] * self.clean_cells
                continue
            times = self.single_cells if len(find_scenario(name).conditions) == 1 else 1
            found += [Cell(name, severity) for severity in self.severities] * times
        return tuple(found)


def draw_scenario(mix: Mix, *, seed: int, utterance: str, copy_index: int) -> Cell:
    """Draw a clip's scenario, keyed by the clip alone.

    Args:
        mix: shares or a list; not a grid, where the clip's place decides (see `grid_cell`).
        seed: the user's.
        utterance: id of the clean clip.
        copy_index: which degraded copy of it, from 0.
    """
    rng = stream(stream_key(seed, utterance, copy_index, "scenario"))
    groups = [group for group in mix.groups if group.share > 0]
    at, chosen = float(rng.random()), groups[-1]
    for group in groups:
        if at < group.share:
            chosen = group
            break
        at -= group.share
    name = chosen.scenarios[int(rng.integers(len(chosen.scenarios)))]
    return Cell(name, 0.0 if name == CLEAN else None)


def grid_cell(cells: tuple[Cell, ...], number: int, utterances: int) -> Cell:
    """Return the cell of clip `number` from 0; every `len(cells)` clips fill the grid once.

    Args:
        cells: of the grid.
        number: the clip's.
        utterances: how many take turns. Where their turns would keep falling together with the
            grid's, each round begins one cell further, so that no utterance meets a cell twice
            before it has met all.
    """
    rounds = number // math.lcm(len(cells), utterances)
    return cells[(number + rounds) % len(cells)]


def group_of(mix: Mix, scenario: str) -> str:
    """Return the name of the group that a scenario belongs to in this mix."""
    return next(group.name for group in mix.groups if scenario in group.scenarios)
