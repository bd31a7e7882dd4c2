"""The 54 scenarios, enumerated, and the merged chain of each.

A scenario is a set of conditions that occur together; its name joins them by `+` in canonical
order. At most one of them is an anchor (paper, appendix; the enumeration rule is the table there).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from megaasr.errors import UsageError
from megaasr.simulate.conditions import BY_NAME, CONDITIONS, Condition, Step

CLEAN = "clean"
"""The name of no condition at all; not one of the 54."""

_LEGACY = {condition.legacy: condition.name for condition in CONDITIONS}


@dataclass(frozen=True, eq=False)
class Scenario:
    """Conditions that occur together.

    Attributes:
        conditions: in canonical order; none for `clean`.
    """

    conditions: tuple[Condition, ...]

    @property
    def name(self) -> str:
        """The conditions' names joined by `+`."""
        return "+".join(condition.name for condition in self.conditions) or CLEAN

    @property
    def group(self) -> str:
        """What kind of compound: `single`, `anchor+modifiers` or `modifiers`."""
        if len(self.conditions) == 1:
            return "single"
        anchored = any(condition.role == "anchor" for condition in self.conditions)
        return "anchor+modifiers" if anchored else "modifiers"

    @cached_property
    def chain(self) -> tuple[tuple[Condition, Step], ...]:
        """The merged chain, each step with the condition that brought it.

        A step is left out if an earlier condition brought one of its kind already; noise never
        is, since a place can have several sources of it.
        """
        chain: list[tuple[Condition, Step]] = []
        for condition in self.conditions:
            before = {step.kind for _, step in chain}
            chain += [
                (condition, step)
                for step in condition.chain
                if step.kind == "noise" or step.kind not in before
            ]
        return tuple(chain)


def enumerate_scenarios() -> tuple[Scenario, ...]:
    """Return the 54 scenarios, by size and then in canonical order."""
    anchors = [c for c in CONDITIONS if c.role == "anchor"]
    modifiers = [c for c in CONDITIONS if c.role == "modifier"]
    not_noise = [c for c in modifiers if c.name != "noise"]
    found: list[tuple[Condition, ...]] = [(condition,) for condition in CONDITIONS]
    for size in range(2, 6):
        # With two modifiers beside an anchor the paper leaves noise out.
        beside = not_noise if size == 3 else modifiers
        found += [(a, *some) for a in anchors for some in combinations(beside, size - 1)]
        found += list(combinations(modifiers, size))
    return tuple(Scenario(conditions) for conditions in found)


SCENARIOS = enumerate_scenarios()
_BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def find_scenario(name: str) -> Scenario:
    """Return the scenario of a name; conditions may stand in any order and bear legacy names.

    Compounds beside the 54 (`far_field+distortion+noise`) are made by the same rules.

    Args:
        name: such as `echo+noise`, `strong_echo+noise` or `clean`.

    Raises:
        UsageError: a condition is unknown or occurs twice, or there are two anchors.
    """
    if name == CLEAN:
        return Scenario(())
    parts = [_condition(part.strip()) for part in name.split("+")]
    canonical = "+".join(c.name for c in CONDITIONS if c in parts)
    if any(parts.count(part) > 1 for part in parts):
        raise UsageError(f"scenario {name}: a condition occurs twice")
    anchors = [c.name for c in parts if c.role == "anchor"]
    if len(anchors) > 1:
        raise UsageError(
            f"scenario {name}: {' and '.join(anchors)} exclude each other, a recording is made in "
            "one place; keep one of them"
        )
    return _BY_NAME.get(canonical) or Scenario(tuple(c for c in CONDITIONS if c in parts))


def scenario_names(scenarios: Iterable[Scenario] = SCENARIOS) -> list[str]:
    """Return the names, in order."""
    return [scenario.name for scenario in scenarios]


def _condition(name: str) -> Condition:
    public = name if name in BY_NAME else _LEGACY.get(name, name)
    if public not in BY_NAME:
        near = difflib.get_close_matches(name, [*BY_NAME, *_LEGACY], n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(BY_NAME)}"
        raise UsageError(f"unknown condition {name!r}; {hint}")
    return BY_NAME[public]
