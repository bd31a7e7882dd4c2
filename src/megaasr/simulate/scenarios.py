"""Enumeration of the 54 scenarios, and the merged chain of each.

A scenario is a set of conditions that occur together; its name joins theirs with `+` in canonical
order. At most one of them is an anchor. Source: the enumeration table in the paper's appendix.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations

from megaasr.errors import UsageError
from megaasr.simulate.conditions import CONDITIONS, LEVELS, ChainStep, Condition
from megaasr.simulate.extra_conditions import ALL_CONDITIONS, EXTRA_CONDITIONS

CLEAN = "clean"
"""Name of the scenario without any condition; it is not one of the 54."""

_ANY = {condition.name: condition for condition in ALL_CONDITIONS}
_LEGACY = {condition.legacy: condition.name for condition in CONDITIONS}


@dataclass(frozen=True, eq=False)
class Scenario:
    """Conditions that occur together.

    Attributes:
        conditions: the conditions in canonical order; empty for `clean`.
    """

    conditions: tuple[Condition, ...]

    @property
    def name(self) -> str:
        """Names of the conditions, joined with `+`."""
        return "+".join(condition.name for condition in self.conditions) or CLEAN

    @property
    def group(self) -> str:
        """Kind of combination: `single`, `anchor+modifiers` or `modifiers`."""
        if len(self.conditions) == 1:
            return "single"
        anchored = any(condition.role == "anchor" for condition in self.conditions)
        return "anchor+modifiers" if anchored else "modifiers"

    @cached_property
    def chain(self) -> tuple[tuple[Condition, ChainStep], ...]:
        """The merged chain: every step with the condition that it belongs to.

        A step is left out if an earlier condition has a step of the same kind. Noise is always
        kept, because a place can have several sources of noise.
        """
        return _merged([(condition, condition.chain) for condition in self.conditions])

    @cached_property
    def literal_chain(self) -> tuple[tuple[Condition, ChainStep], ...]:
        """The merged chain of the paper's conditions, see `Compounds.LITERAL`."""
        chains = [(condition, condition.literal_chain) for condition in self.conditions]
        return _merged([(condition, chain or condition.chain) for condition, chain in chains])


def _merged(
    chains: Iterable[tuple[Condition, tuple[ChainStep, ...]]],
) -> tuple[tuple[Condition, ChainStep], ...]:
    merged: list[tuple[Condition, ChainStep]] = []
    conditions = list(chains)
    for number, (condition, chain) in enumerate(conditions):
        before = {step.kind for _, step in merged}
        after = {step.kind for _, later in conditions[number + 1 :] for step in later}
        merged += [
            (condition, step)
            for step in chain
            if step.kind == "noise"
            or (step.kind not in before and not (step.yields and after & LEVELS))
        ]
    return tuple(merged)


def enumerate_scenarios() -> tuple[Scenario, ...]:
    """Return the 54 scenarios, ordered by the number of conditions and then canonically."""
    anchors = [c for c in CONDITIONS if c.role == "anchor"]
    modifiers = [c for c in CONDITIONS if c.role == "modifier"]
    not_noise = [c for c in modifiers if c.name != "noise"]
    combined: list[tuple[Condition, ...]] = [(condition,) for condition in CONDITIONS]
    for size in range(2, 6):
        # The paper leaves out noise where an anchor has two modifiers.
        candidates = not_noise if size == 3 else modifiers
        combined += [
            (anchor, *subset) for anchor in anchors for subset in combinations(candidates, size - 1)
        ]
        combined += list(combinations(modifiers, size))
    return tuple(Scenario(conditions) for conditions in combined)


SCENARIOS = enumerate_scenarios()
"""The 54 scenarios, ordered by the number of conditions and then canonically."""

EXTRA_SCENARIOS = tuple(Scenario((condition,)) for condition in EXTRA_CONDITIONS)
"""The extra conditions on their own, in canonical order; they are not among the 54."""

_BY_NAME = {scenario.name: scenario for scenario in (*SCENARIOS, *EXTRA_SCENARIOS)}


def find_scenario(name: str) -> Scenario:
    """Return the scenario with a name.

    Compounds outside the 54 (`far_field+distortion+noise`), and those with extra conditions
    (`far_field+codec`), are formed by the same rules.

    Args:
        name: conditions joined with `+` in any order, or `clean`. Legacy names are accepted:
            `strong_echo+noise` is `echo+noise`.

    Raises:
        UsageError: a condition is unknown or occurs twice, or there are two anchors.
    """
    if name == CLEAN:
        return _formed(())
    parts = [_condition(part.strip(), name) for part in name.split("+")]
    ordered = tuple(c for c in ALL_CONDITIONS if c in parts)
    if twice := [c.name for c in ordered if parts.count(c) > 1]:
        raise UsageError(f"scenario {name}: {twice[0]} occurs twice; name each condition once")
    anchors = [c.name for c in parts if c.role == "anchor"]
    if len(anchors) > 1:
        raise UsageError(
            f"scenario {name}: {' and '.join(anchors)} exclude each other, a recording is made in "
            "one place; keep one of them"
        )
    return _formed(ordered)


@cache
def _formed(conditions: tuple[Condition, ...]) -> Scenario:
    """Return the only scenario with these conditions, so that its chain is merged once."""
    scenario = Scenario(conditions)
    return _BY_NAME.get(scenario.name, scenario)


def scenario_names(scenarios: Iterable[Scenario] = SCENARIOS) -> list[str]:
    """Return the names of scenarios in their order."""
    return [scenario.name for scenario in scenarios]


def _condition(name: str, scenario: str) -> Condition:
    public = name if name in _ANY else _LEGACY.get(name, name)
    if public not in _ANY:
        near = difflib.get_close_matches(name, [*_ANY, *_LEGACY], n=1)
        hint = f"did you mean {near[0]}?" if near else f"the conditions are {', '.join(_ANY)}"
        raise UsageError(f"unknown scenario {scenario!r}: no condition is called {name!r}; {hint}")
    return _ANY[public]
