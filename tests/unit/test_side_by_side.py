"""Results on the same test set become one; comparisons are with the baseline that was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from example_results import example_result
from megaasr.errors import UsageError
from megaasr.report.side_by_side import side_by_side
from megaasr.score.result import Comparison, Result


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("sounds")
    return example_result(folder, clips=60, systems=("base", "robust"), sounds=0)


def alone(system: str, clips: int = 60) -> Result:
    return example_result(Path(), clips=clips, systems=(system,), sounds=0)


def overall(result: Result) -> dict[tuple[str, str], Comparison]:
    comparisons = (c for c in result.comparisons if c.by == "overall")
    return {(c.system, c.normalizer): c for c in comparisons}


def test_two_results_are_what_one_run_of_both_systems_is(together: Result) -> None:
    (merged,) = side_by_side([alone("base"), alone("robust")])
    assert merged.groups == together.groups
    assert merged.comparisons == together.comparisons
    assert merged.clips == together.clips
    assert [system.name for system in merged.systems] == ["base", "robust"]


def test_other_test_sets_stay_apart() -> None:
    first, second = side_by_side([alone("base"), alone("robust", clips=50)])
    assert (first.test_set.clips, second.test_set.clips) == (60, 50)


def test_a_name_that_is_taken_gets_a_number() -> None:
    base = alone("base")
    (merged,) = side_by_side([base, base, base])
    names = ["base", "base (2)", "base (3)"]
    assert [system.name for system in merged.systems] == names
    assert list(merged.clips[0].hypotheses) == names
    assert all(c.difference == 0 and c.p_value in (None, 1) for c in merged.comparisons)


def test_another_baseline_turns_the_comparison_round(together: Result) -> None:
    (reversed_result,) = side_by_side([together], "robust")
    original = overall(together)["robust", "bench"]
    turned_round = overall(reversed_result)["base", "bench"]
    assert reversed_result.baseline == "robust"
    assert {c.baseline for c in reversed_result.comparisons} == {"robust"}
    assert turned_round.difference == -original.difference != 0
    assert turned_round.interval == pytest.approx([-end for end in reversed(original.interval)])
    assert turned_round.p_value == pytest.approx(original.p_value)


def test_the_same_baseline_changes_nothing_and_needs_no_clips(together: Result) -> None:
    kept = together.without_clips()
    assert side_by_side([kept]) == [kept]
    with pytest.raises(UsageError, match="clips were left out"):
        side_by_side([kept], "robust")


def test_an_unknown_baseline_is_refused(together: Result) -> None:
    with pytest.raises(UsageError, match="unknown baseline whisper; choose one of base, rob"):
        side_by_side([together], "whisper")


def test_a_baseline_of_one_test_set_leaves_the_others_their_own(together: Result) -> None:
    first, second = side_by_side([together, alone("routed", clips=50)], "robust")
    assert (first.baseline, second.baseline) == ("robust", "routed")
