"""The 54 scenarios, their chains and ranges, as the paper has them: never to change unnoticed."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import make_scenarios
import pytest

from megaasr.errors import UsageError
from megaasr.simulate.conditions import CONDITIONS
from megaasr.simulate.noise_pool import NoisePool
from megaasr.simulate.positions import Compounds
from megaasr.simulate.scenarios import SCENARIOS, find_scenario, scenario_names
from megaasr.simulate.severity import DiscreteSweep, Sweep
from megaasr.simulate.simulator import Simulator

GOLDEN = json.loads(make_scenarios.TABLE.read_text(encoding="utf-8"))
COUNTS = {1: 7, 2: 18, 3: 13, 4: 13, 5: 3}


def test_the_table_is_what_its_command_writes() -> None:
    assert make_scenarios.table() == GOLDEN
    assert len(GOLDEN["scenarios"]) == 54


def test_names_groups_and_chains() -> None:
    enumerated = {
        scenario.name: {
            "group": scenario.group,
            "chain": ", ".join(
                f"{condition.name}: {step.kind}" for condition, step in scenario.literal_chain
            ),
        }
        for scenario in SCENARIOS
    }
    assert enumerated == GOLDEN["scenarios"]
    assert scenario_names() == list(GOLDEN["scenarios"])


@pytest.mark.parametrize(("size", "count"), COUNTS.items())
def test_as_many_of_each_size_as_the_paper_counts(size: int, count: int) -> None:
    assert sum(name.count("+") == size - 1 for name in scenario_names()) == count


def as_golden(value: Any) -> Any:
    if isinstance(value, Sweep):
        return [value.easy, value.hard]
    return {"options": list(value.options)} if isinstance(value, DiscreteSweep) else value


def test_ranges() -> None:
    plain = {}
    for condition in CONDITIONS:
        steps = []
        for step in condition.literal_chain or condition.chain:
            gate = {} if step.gate is None else {"gate": step.gate}
            parameters = {name: as_golden(value) for name, value in step.parameters.items()}
            steps.append({"kind": step.kind, **gate, **parameters})
        plain[condition.name] = steps
    assert plain == GOLDEN["conditions"]
    assert list(plain) == list(make_scenarios.ORDER)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("echo+recording", "reverb filter echo loudness resample noise"),
        (
            "far_field+distortion+noise",  # none of the 54, made by the same rules
            "reverb filter loudness distortion loudness_after_distortion noise",
        ),
        ("recording", "resample noise filter filter loudness"),
        ("recording+noise", "resample noise filter filter loudness noise"),
        ("clean", ""),
    ],
)
def test_worked_examples(name: str, kinds: str) -> None:
    assert " ".join(step.kind for _, step in find_scenario(name).literal_chain) == kinds


def test_a_worked_example_as_drawn() -> None:
    literal = Simulator(NoisePool(builtin="fixed"), compounds=Compounds.LITERAL)
    steps = literal.draw(seed=1, scenario="echo+recording", severity=1.0).steps
    kinds = ["reverb", "filter", "echo", "loudness", "resample", "noise"]
    assert [step.primitive for step in steps] == kinds
    parameters = [step.model_dump() for step in steps]
    assert (parameters[1]["filter_type"], parameters[1]["cutoff_hz"]) == ("highpass", 300)
    assert parameters[3]["target_lufs"] == -30
    assert parameters[5]["source"] == "builtin:white"
    easy = literal.draw(seed=1, scenario="echo+recording", severity=0.4).steps
    assert [step.primitive for step in easy] == [kind for kind in kinds if kind != "resample"]


@pytest.mark.parametrize(
    ("legacy", "name"),
    [
        ("barrier", "obstructed"),
        ("strong_echo", "echo"),
        ("crosstalk", "recording"),
        ("stutter", "dropout"),
        ("noise", "noise"),
        ("far_field", "far_field"),
        ("distortion", "distortion"),
        ("noise+stutter", "dropout+noise"),
        ("distortion+crosstalk+barrier", "obstructed+recording+distortion"),
    ],
)
def test_legacy_names(legacy: str, name: str) -> None:
    assert find_scenario(legacy).name == name


@pytest.mark.parametrize("name", scenario_names())
def test_conditions_may_stand_in_any_order(name: str) -> None:
    for parts in permutations(name.split("+")):
        assert find_scenario("+".join(parts)) is find_scenario(name)


@pytest.mark.parametrize("name", ["echo+far_field", "noise+noise", "barrier+strong_echo", "nosie"])
def test_what_is_no_scenario(name: str) -> None:
    with pytest.raises(UsageError):
        find_scenario(name)
