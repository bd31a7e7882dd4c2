"""Regret by scenario: a system that chooses between the branches against the better branch."""

from __future__ import annotations

from pathlib import Path

import pytest

from example_results import example_result
from megaasr.report.benchmark_tables import regrets
from megaasr.score.regret import scenario_regrets
from megaasr.score.result import Result


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return example_result(tmp_path_factory.mktemp("regret"), kind="simulated", sounds=0)


def test_regret_is_the_distance_from_the_better_branch(result: Result) -> None:
    (normalizer, *_) = result.normalizers
    scenarios = scenario_regrets(result, "routed", normalizer)
    assert {s.scenario for s in scenarios} == {g.name for g in result.groups_by("scenario")}
    by_name = {group.name: group.rates for group in result.groups_by("scenario")}
    for s in scenarios:
        rates = {name: rate[normalizer].rate for name, rate in by_name[s.scenario].items()}
        assert s.regret == pytest.approx(
            rates["routed"] - min(rates["base"], rates["robust"]), abs=1e-9
        )
        routes = [c.hypotheses["routed"].route for c in result.clips if c.scenario == s.scenario]
        assert s.clips == len(routes)
        assert s.robust_share == pytest.approx(routes.count("robust") / len(routes))


def test_a_branch_has_no_regret(result: Result) -> None:
    (normalizer, *_) = result.normalizers
    assert scenario_regrets(result, "base", normalizer) == []


def test_without_both_branches_there_is_none(tmp_path: Path) -> None:
    result = example_result(tmp_path, kind="simulated", sounds=0, systems=("base", "routed"))
    (normalizer, *_) = result.normalizers
    assert scenario_regrets(result, "routed", normalizer) == []
    assert regrets(result, normalizer) == []


def test_a_result_without_clips_keeps_its_regrets(result: Result) -> None:
    (normalizer, *_) = result.normalizers
    stored = result.model_copy(update={"clips": ()})
    regrets_of = [s.regret for s in scenario_regrets(stored, "routed", normalizer)]
    assert regrets_of == [s.regret for s in scenario_regrets(result, "routed", normalizer)]
    assert all(s.robust_share is None for s in scenario_regrets(stored, "routed", normalizer))


def test_the_table_ends_with_the_mean(result: Result) -> None:
    (normalizer, *_) = result.normalizers
    (table,) = regrets(result, normalizer)
    assert len(table.rows) == len(result.groups_by("scenario")) + 1
    assert "mean of the degraded" in table.markdown()
