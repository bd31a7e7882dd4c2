"""Assign scenarios to clips: by shares of groups, from a list, or on a grid for test sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from megaasr.config import Recipe
from megaasr.errors import UsageError
from megaasr.simulate.conditions import Condition
from megaasr.simulate.scenarios import CLEAN, SCENARIOS, find_scenario, scenario_names
from megaasr.simulate.severity import check_severity
from megaasr.simulate.streams import stream, stream_key

FAVOURED = ("far_field+recording", "far_field+dropout", "far_field+noise", "dropout+noise")
"""The four compounds that the paper's scheduler prefers."""

GRID_SEVERITIES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Default severities of a grid."""


@dataclass(frozen=True, slots=True)
class ScenarioGroup:
    """A group of equally likely scenarios.

    Attributes:
        name: `clean`, `single`, `favoured`, `rest` or `listed`.
        share: share of all clips, 0 to 1.
        scenarios: canonical names of the scenarios; not empty if the share is above 0.
    """

    name: str
    share: float
    scenarios: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScenarioCell:
    """Scenario and severity assigned to a clip.

    Attributes:
        scenario: canonical name of the scenario.
        severity: severity, 0 to 1; None to draw it with the other parameters of the clip.
    """

    scenario: str
    severity: float | None = None


class Mix(Recipe):
    """Distribution of the scenarios over the clips of a data set.

    `shares` draws a group and then one of its scenarios; `listed` draws one of `scenarios`; `grid`
    goes through every scenario and severity in turn, so that all have the same number of clips.
    """

    kind: Literal["shares", "listed", "grid"] = "shares"
    single: float = Field(default=0.60, ge=0, le=1, description="share of the 7 single conditions")
    favoured: float = Field(default=0.24, ge=0, le=1, description="share of `favoured_scenarios`")
    rest: float = Field(
        default=0.16, ge=0, le=1, description="share of all other compounds among the 54"
    )
    clean: float = Field(default=0.0, ge=0, le=1, description="share of all clips that stay clean")
    favoured_scenarios: tuple[str, ...] = Field(
        default=FAVOURED, description="compounds of the group `favoured`"
    )
    scenarios: tuple[str, ...] = Field(
        default=(), description="scenarios of `listed` and `grid`; empty for all 54 on a grid"
    )
    severities: tuple[float, ...] = Field(
        default=GRID_SEVERITIES, description="severities of a `grid`, each 0 to 1"
    )
    clean_cells: int = Field(
        default=1, gt=0, description="clean cells of a `grid` whose scenarios include `clean`"
    )
    single_cells: int = Field(
        default=1, gt=0, description="cells per severity for the single conditions of a `grid`"
    )
    size_cells: dict[str, int] = Field(
        default={},
        description="cells per severity for the scenarios of a `grid` by number of conditions, "
        'such as { "2" = 3 }; 1 for those that are not named',
    )
    balanced_by: str | None = Field(
        default=None,
        description="column of the utterances, such as speaker, whose values a `grid` distributes "
        "evenly over its cells, in random order; None to use the utterances in their order",
    )

    @field_validator("favoured_scenarios", "scenarios")
    @classmethod
    def _canonical(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        canonical = tuple(find_scenario(name).name for name in names)
        if len(set(canonical)) < len(canonical):
            raise UsageError("a scenario is listed twice")
        return canonical

    @field_validator("severities")
    @classmethod
    def _in_range(cls, severities: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(check_severity(severity) for severity in severities)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        total = self.single + self.favoured + self.rest
        if not math.isclose(total, 1.0, abs_tol=1e-9):
            raise UsageError(
                f"single, favoured and rest must add up to 1 (clean does not count), not {total:g}"
            )
        if not all(len(find_scenario(name).conditions) > 1 for name in self.favoured_scenarios):
            raise UsageError("favoured_scenarios must be compounds")
        if self.kind == "listed" and not self.scenarios:
            raise UsageError("a listed mix needs scenarios")
        for group in self.groups:
            if group.share and not group.scenarios:
                raise UsageError(f"{group.name} has a share, but there is no scenario in it")
        if self.balanced_by is not None and self.kind != "grid":
            raise UsageError("balanced_by is for a grid")
        if self.kind == "grid" and not self.severities:
            raise UsageError("a grid needs severities")
        return self

    @cached_property
    def groups(self) -> tuple[ScenarioGroup, ...]:
        """Groups with their shares of all clips, which add up to 1."""
        if self.kind != "shares":
            return (ScenarioGroup("listed", 1.0, self.scenarios or tuple(scenario_names())),)
        single = tuple(s.name for s in SCENARIOS if len(s.conditions) == 1)
        assigned = {*single, *self.favoured_scenarios}
        remaining = tuple(name for name in scenario_names() if name not in assigned)
        degraded = 1.0 - self.clean
        return (
            ScenarioGroup("single", degraded * self.single, single),
            ScenarioGroup("favoured", degraded * self.favoured, self.favoured_scenarios),
            ScenarioGroup("rest", degraded * self.rest, remaining),
            ScenarioGroup("clean", self.clean, (CLEAN,)),
        )

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        """Conditions of the scenarios that have a share."""
        names = [name for group in self.groups if group.share for name in group.scenarios]
        return tuple(dict.fromkeys(c for name in names for c in find_scenario(name).conditions))

    @cached_property
    def cells(self) -> tuple[ScenarioCell, ...]:
        """Cells of a grid, ordered by scenario and then severity.

        A scenario has as many cells per severity as `size_cells` says, else a compound one and a
        single condition `single_cells`; `clean` has `clean_cells` in total.
        """
        cells: list[ScenarioCell] = []
        for name in self.groups[0].scenarios:
            if name == CLEAN:
                cells += [ScenarioCell(name, 0.0)] * self.clean_cells
                continue
            size = len(find_scenario(name).conditions)
            times = self.size_cells.get(str(size), self.single_cells if size == 1 else 1)
            cells += [ScenarioCell(name, severity) for severity in self.severities] * times
        return tuple(cells)


def draw_scenario(mix: Mix, *, seed: int, utterance: str, copy_index: int) -> ScenarioCell:
    """Draw the scenario of a clip; the result depends on nothing but the arguments.

    Args:
        mix: a mix of shares or a list; on a grid, use `grid_cell`.
        seed: seed of the data set.
        utterance: id of the clean clip.
        copy_index: number of the degraded copy of this clip, from 0.
    """
    rng = stream(stream_key(seed, utterance, copy_index, "scenario"))
    groups = [group for group in mix.groups if group.share > 0]
    threshold, selected = float(rng.random()), groups[-1]
    for group in groups:
        if threshold < group.share:
            selected = group
            break
        threshold -= group.share
    name = selected.scenarios[int(rng.integers(len(selected.scenarios)))]
    return ScenarioCell(name, 0.0 if name == CLEAN else None)


def grid_cell(cells: tuple[ScenarioCell, ...], number: int, utterances: int) -> ScenarioCell:
    """Return the cell of a clip on a grid; every `len(cells)` clips fill the grid once.

    Where the cycle of utterances would stay in step with that of the cells, each round is shifted
    by one cell, so that no utterance has a cell twice before it has had all of them.

    Args:
        cells: cells of the grid.
        number: number of the clip, from 0.
        utterances: number of utterances, which are used in turn.
    """
    rounds = number // math.lcm(len(cells), utterances)
    return cells[(number + rounds) % len(cells)]


def balanced_order(
    values: Sequence[str], count: int, cells: Sequence[ScenarioCell], seed: int
) -> list[int]:
    """Return the utterance of each clip on a grid, so that scenarios do not differ in speakers.

    The cells of a scenario get the values in turn, in random order, and every round over all cells
    starts with the next value. The utterances of a value are used in random order, none twice
    before all of them were used.

    Args:
        values: value of each utterance that is to be balanced, such as its speaker.
        count: number of clips.
        cells: cells of the grid, those of a scenario in sequence.
        seed: seed of the order.
    """
    members: list[list[int]] = []
    for value in sorted(set(values)):
        indices = [index for index, other in enumerate(values) if other == value]
        members.append(_permuted(indices, stream_key(seed, value, 0, "order")))
    rows = [len(list(row)) for _, row in groupby(cells, key=lambda cell: cell.scenario)]
    used = [0] * len(members)
    order: list[int] = []
    for round_ in range(-(-count // len(cells))):
        first = round_
        for row, length in enumerate(rows):
            turns = [(first + i) % len(members) for i in range(length)]
            for group in _permuted(turns, stream_key(seed, str(row), round_, "row")):
                order.append(members[group][used[group] % len(members[group])])
                used[group] += 1
            first += length
    return order[:count]


def _permuted(items: Sequence[int], key: str) -> list[int]:
    return [items[int(index)] for index in stream(key).permutation(len(items))]


def group_of(mix: Mix, scenario: str) -> str:
    """Return the name of the group that a scenario belongs to in a mix."""
    return next(group.name for group in mix.groups if scenario in group.scenarios)
