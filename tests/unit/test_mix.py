"""The shares of the mix, who belongs to which group, and the grid."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from pydantic import ValidationError

from megaasr.simulate.mix import Mix, draw_scenario, grid_cell, group_of
from megaasr.simulate.scenarios import scenario_names

DRAWS = 20_000
SINGLE = ("obstructed", "far_field", "echo", "recording", "distortion", "dropout", "noise")
FAVOURED = ("far_field+recording", "far_field+noise", "far_field+dropout", "dropout+noise")


def draws(mix: Mix, count: int = DRAWS, seed: int = 5) -> list[str]:
    return [
        draw_scenario(mix, seed=seed, utterance=f"u{k // 2}", copy_index=k % 2).scenario
        for k in range(count)
    ]


def within(count: int, share: float, total: int = DRAWS) -> bool:
    """Tell whether a binomial count is within 4.5 standard deviations (one in 150,000)."""
    return abs(count - share * total) <= 4.5 * math.sqrt(total * share * (1 - share))


def test_groups_have_exactly_the_members_of_the_paper() -> None:
    single, favoured, remaining, clean = Mix().groups
    assert sorted(single.scenarios) == sorted(SINGLE)
    assert sorted(favoured.scenarios) == sorted(FAVOURED)
    assert set(remaining.scenarios) == set(scenario_names()) - set(SINGLE) - set(FAVOURED)
    assert len(remaining.scenarios) == 43
    assert clean.scenarios == ("clean",)
    assert [group.share for group in Mix().groups] == [0.60, 0.24, 0.16, 0.0]


def test_the_default_shares_hold() -> None:
    mix = Mix()
    counts = Counter(draws(mix))
    groups: Counter[str] = Counter()
    for name, count in counts.items():
        groups[group_of(mix, name)] += count
    assert within(groups["single"], 0.60)
    assert within(groups["favoured"], 0.24)
    assert within(groups["rest"], 0.16)
    assert groups["clean"] == 0
    for group in mix.groups:
        for name in group.scenarios:
            assert within(counts[name], group.share / len(group.scenarios)), name


def test_clean_takes_its_share_of_all_and_has_no_severity() -> None:
    mix = Mix(clean=0.1)
    counts = Counter(draws(mix))
    assert within(counts["clean"], 0.1)
    assert within(sum(counts[name] for name in SINGLE), 0.9 * 0.6)
    cells = [draw_scenario(mix, seed=1, utterance=str(k), copy_index=0) for k in range(200)]
    assert {cell.severity for cell in cells if cell.scenario == "clean"} == {0.0}
    assert {cell.severity for cell in cells if cell.scenario != "clean"} == {None}


def test_a_draw_depends_on_seed_utterance_and_copy_alone() -> None:
    mix = Mix()
    assert draws(mix, 50) == draws(Mix(), 50)
    assert draws(mix, 50) != draws(mix, 50, seed=6)
    copies = {draw_scenario(mix, seed=1, utterance="a", copy_index=k).scenario for k in range(20)}
    assert len(copies) > 5


def test_a_list_is_drawn_from_evenly_whatever_the_spelling() -> None:
    mix = Mix(kind="listed", scenarios=("noise+strong_echo", "barrier", "clean"))
    counts = Counter(draws(mix, 3000))
    assert set(counts) == {"echo+noise", "obstructed", "clean"}
    assert all(within(count, 1 / 3, 3000) for count in counts.values())
    assert set(draws(Mix(kind="listed", scenarios=("dropout",)), 20)) == {"dropout"}


def test_the_grid_has_every_cell_equally_often() -> None:
    cells = Mix(kind="grid", severities=(0.1, 0.9)).cells
    assert [(cell.scenario, cell.severity) for cell in cells] == [
        (name, severity) for name in scenario_names() for severity in (0.1, 0.9)
    ]
    counts = Counter(grid_cell(cells, number, utterances=7) for number in range(3 * len(cells)))
    assert set(counts.values()) == {3}
    assert len(counts) == len(cells)


@pytest.mark.parametrize("utterances", [1, 2, 3, 4, 5, 6, 9, 12])
def test_no_utterance_meets_a_cell_twice_before_it_has_met_all(utterances: int) -> None:
    cells = Mix(kind="grid", scenarios=("noise", "echo", "clean"), severities=(0.2, 0.8)).cells
    assert len(cells) == 5  # clean once
    met = Counter((k % utterances, grid_cell(cells, k, utterances)) for k in range(5 * utterances))
    assert len(met) == 5 * utterances


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"single": 0.5}, "must add up to 1.*not 0.9"),
        ({"single": 0.76, "favoured": 0.24, "rest": 0.0, "clean": 1.5}, "less than or equal to 1"),
        ({"favoured_scenarios": ("noise",)}, "must be compounds"),
        ({"favoured_scenarios": ()}, "favoured has a share"),
        ({"favoured_scenarios": ("dropout+noise", "noise+stutter")}, "listed twice"),
        ({"favoured_scenarios": ("far_field+echo",)}, "exclude each other"),
        ({"kind": "listed"}, "needs scenarios"),
        ({"kind": "listed", "scenarios": ("nois",)}, "did you mean noise"),
        ({"kind": "grid", "severities": ()}, "needs severities"),
        ({"kind": "grid", "severities": (0.5, 1.2)}, "from 0 .*to 1"),
        ({"singel": 1}, "Extra inputs"),
    ],
)
def test_impossible_mixes_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Mix.model_validate(values)


def test_a_grid_may_have_more_cells_of_clean_and_single_conditions() -> None:
    mix = Mix(
        kind="grid",
        scenarios=("clean", "noise", "echo+noise"),
        severities=(0.1, 0.9),
        clean_cells=3,
        single_cells=2,
    )
    cells = [(cell.scenario, cell.severity) for cell in mix.cells]
    noise, both = [("noise", 0.1), ("noise", 0.9)], [("echo+noise", 0.1), ("echo+noise", 0.9)]
    assert cells == [("clean", 0.0)] * 3 + noise * 2 + both
