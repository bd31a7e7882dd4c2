"""The bootstrap interval against a plain loop, against theory, and in corner cases."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from megaasr.score.intervals import (
    MIN_BLOCKS,
    PairedComparison,
    bootstrap_interval,
    paired_bootstrap,
)


def clips(count: int, seed: int = 0, rate: float = 0.2) -> tuple[list[int], list[int]]:
    rng = np.random.default_rng(seed)
    words = rng.integers(1, 20, size=count)
    return rng.binomial(words, rate).tolist(), words.tolist()


def plain_interval(
    errors: list[int], words: list[int], draws: int, level: float
) -> tuple[float, float]:
    """Bootstrap-t by a plain loop, with another generator and percentiles by sorting."""
    chance = random.Random(99)
    rate, error = plain_error(errors, words)
    deviations = []
    for _ in range(draws):
        indices = [chance.randrange(len(errors)) for _ in errors]
        drawn_rate, drawn_error = plain_error(
            [errors[k] for k in indices], [words[k] for k in indices]
        )
        deviations.append((drawn_rate - rate) / max(drawn_error, 0.2 * error))
    deviations.sort()
    tail = (1 - level) / 2
    least, most = deviations[round(tail * (draws - 1))], deviations[round((1 - tail) * (draws - 1))]
    return rate - most * error, rate - least * error


def plain_error(errors: list[int], words: list[int]) -> tuple[float, float]:
    """A pooled rate and its standard error."""
    rate = sum(errors) / sum(words)
    squares = sum((e - rate * w) ** 2 for e, w in zip(errors, words, strict=True))
    return rate, (squares * len(errors) / (len(errors) - 1)) ** 0.5 / sum(words)


def interval(errors: list[int], words: list[int], **options: Any) -> tuple[float, float]:
    """Return an interval that must exist."""
    ends = bootstrap_interval(errors, words, **options)
    assert ends is not None
    return ends


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_equals_a_plain_loop(level: float) -> None:
    errors, words = clips(60)
    low, high = interval(errors, words, seed=3, level=level)
    plain_low, plain_high = plain_interval(errors, words, 4_000, level)
    # Monte-Carlo error of a percentile: a few hundredths of the interval's width.
    assert low == pytest.approx(plain_low, abs=0.08 * (high - low))
    assert high == pytest.approx(plain_high, abs=0.08 * (high - low))


def test_depends_on_the_seed_only() -> None:
    errors, words = clips(40)
    first = bootstrap_interval(errors, words, seed=1, replications=1_234)
    np.random.seed(0)
    assert bootstrap_interval(errors, words, seed=1, replications=1_234) == first
    assert bootstrap_interval(errors, words, seed=2, replications=1_234) != first


def test_contains_the_rate_and_narrows_with_the_level() -> None:
    errors, words = clips(100)
    rate = sum(errors) / sum(words)
    wide = interval(errors, words, seed=1, level=0.99)
    narrow = interval(errors, words, seed=1, level=0.5)
    assert wide[0] < narrow[0] < rate < narrow[1] < wide[1]


def test_shrinks_with_the_square_root_of_the_clips() -> None:
    errors, words = clips(50)
    few = interval(errors, words, seed=1, replications=4_000)
    many = interval(errors * 16, words * 16, seed=1, replications=4_000)
    assert (few[1] - few[0]) / (many[1] - many[0]) == pytest.approx(4.0, rel=0.1)


def test_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(300):
        errors, words = clips(60, seed=seed, rate=0.3)
        low, high = interval(errors, words, seed=seed, replications=400, level=0.9)
        covered += low <= 0.3 <= high
    assert 0.83 <= covered / 300 <= 0.95


def test_too_few_blocks_have_no_interval() -> None:
    errors, words = clips(MIN_BLOCKS)
    assert bootstrap_interval(errors, words, seed=1) is not None
    assert bootstrap_interval(errors[1:], words[1:], seed=1) is None
    copies = [str(n // 2) for n in range(MIN_BLOCKS)]
    assert bootstrap_interval(errors, words, seed=1, blocks=copies) is None
    assert bootstrap_interval(errors, words, seed=1, blocks=copies, min_blocks=10) is not None
    assert bootstrap_interval([1], [2], seed=1, min_blocks=1) is None  # no spread at all


def test_words_are_pooled_not_clips() -> None:
    # Long clips without errors weigh more than wrong ones of one word.
    low, high = interval([0, 1] * 20, [99, 1] * 20, seed=1)
    assert low < 0.01 < high < 0.02


@pytest.mark.parametrize(
    ("errors", "words", "low", "high"),
    [
        (0, 5, 0.0, 0.088),  # 1 - 0.025^(1 / 40): as many unseen clips may be wrong
        (5, 5, 0.912, 1.0),
        (4, 2, 1.824, 2.0),
        (0, 0, 0.0, 0.088),
    ],
)
def test_clips_that_are_all_alike_have_an_interval_of_some_width(
    errors: int, words: int, low: float, high: float
) -> None:
    ends = interval([errors] * 40, [words] * 40, seed=1, replications=50)
    assert ends == pytest.approx((low, high), abs=5e-4)


@pytest.mark.parametrize(("errors", "words"), [([], []), ([1, 2], [3]), ([], [1])])
def test_counts_must_belong_together(errors: list[int], words: list[int]) -> None:
    message = f"{len(errors)} error counts and {len(words)} word counts"
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(errors, words, seed=1)


def test_blocks_are_drawn_whole() -> None:
    # 40 speakers with 5 clips each, half of them all wrong: as wide as 40 clips, not as 200.
    errors, words = [n // 5 % 2 for n in range(200)], [1] * 200
    speakers = [f"{n // 5:03d}" for n in range(200)]
    by_speaker = interval(errors, words, seed=1, blocks=speakers)
    alone = interval(errors, words, seed=1)
    assert by_speaker[1] - by_speaker[0] == pytest.approx(5**0.5 * (alone[1] - alone[0]), rel=0.1)
    assert by_speaker == pytest.approx(interval([0, 5] * 20, [5] * 40, seed=1))
    # A block for each clip is no blocks.
    assert interval(errors, words, seed=1, blocks=[f"{n:03d}" for n in range(200)]) == alone


def test_a_paired_comparison_sees_what_intervals_do_not() -> None:
    rng = np.random.default_rng(0)
    words = [10] * 400
    before = rng.integers(0, 10, 400)
    after = np.maximum(before - (rng.random(400) < 0.1), 0)  # one error less on a tenth of clips
    comparison = paired_bootstrap(before.tolist(), after.tolist(), words, seed=1)
    assert comparison.difference == pytest.approx((after.sum() - before.sum()) / 4000)
    assert comparison.interval is not None
    assert comparison.interval[0] < comparison.difference < comparison.interval[1] < 0
    assert comparison.probability_of_improvement == 1.0
    assert comparison.p_value == 1 / 10_001  # 1 / (replications + 1)
    ours = interval(after.tolist(), words, seed=1)
    theirs = interval(before.tolist(), words, seed=1)
    assert theirs[0] < ours[1]  # the plain intervals overlap


def test_a_comparison_turned_round() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.integers(0, 6, 80).tolist(), rng.integers(0, 6, 80).tolist()
    words = rng.integers(5, 9, 80).tolist()
    forward = paired_bootstrap(first, second, words, seed=3)
    backward = paired_bootstrap(second, first, words, seed=3)
    assert forward.difference == pytest.approx(-backward.difference)
    assert forward.interval is not None
    assert backward.interval is not None
    assert forward.interval == pytest.approx([-end for end in reversed(backward.interval)])
    assert (forward.probability_of_improvement or 0) + (
        backward.probability_of_improvement or 0
    ) == pytest.approx(1)
    assert forward.p_value == backward.p_value


def test_equal_systems_do_not_differ() -> None:
    errors = [1, 0, 2, 5] * 10
    comparison = paired_bootstrap(errors, errors, [5] * 40, seed=1)
    assert (comparison.probability_of_improvement, comparison.p_value) == (0.5, 1.0)
    assert comparison.difference == 0
    assert comparison.interval == pytest.approx((-0.088, 0.088), abs=5e-4)


def test_the_interval_excludes_no_difference_where_the_test_does() -> None:
    rng = np.random.default_rng(4)
    kinds = set()
    for seed in range(60):
        first, second = rng.poisson(1.6, 30).tolist(), rng.poisson(1.0, 30).tolist()
        comparison = paired_bootstrap(first, second, [10] * 30, seed=seed, replications=2_000)
        assert comparison.interval is not None
        low, high = comparison.interval
        assert comparison.p_value is not None
        if abs(comparison.p_value - 0.05) > 0.01:
            assert (comparison.p_value < 0.05) == (low > 0 or high < 0)
            kinds.add(comparison.is_significant(0.05))
    assert kinds == {False, True}


def test_few_differing_clips_are_no_evidence() -> None:
    """Of 40 clips, 4 differ, all in favour of the system: the sign test says p = 1 / 8."""
    better = paired_bootstrap([3] * 4 + [0] * 36, [0] * 40, [10] * 40, seed=1)
    assert better.p_value == pytest.approx(0.125, abs=0.02)
    assert better.interval is not None
    assert better.interval[1] >= 0


def test_a_comparison_of_too_few_clips_says_so() -> None:
    comparison = paired_bootstrap([1, 2, 3], [0, 0, 0], [10, 10, 10], seed=1)
    assert comparison == PairedComparison(-0.2, 3)
    assert comparison.interval is None
    assert not comparison.is_significant(0.05)
    assert comparison.describe() == "-20.00 (too few clips)"
    enough = paired_bootstrap([1, 2, 3] * 10, [0, 0, 1] * 10, [10] * 30, seed=1)
    assert enough.is_significant(0.05)
    assert "too few" not in enough.describe()


def test_p_values_are_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(5)
    small = 0
    for seed in range(200):
        first, second = rng.poisson(2, 100).tolist(), rng.poisson(2, 100).tolist()
        comparison = paired_bootstrap(first, second, [10] * 100, seed=seed, replications=500)
        small += comparison.is_significant(0.1)
    assert 6 <= small <= 36  # 20 expected; 0.1 % of tries fall outside


def test_paired_counts_and_blocks_must_belong_together() -> None:
    with pytest.raises(ValueError, match="1 error counts and 2 error counts and 1 word counts"):
        paired_bootstrap([1], [1, 2], [1], seed=1)
    with pytest.raises(ValueError, match="in 3 blocks"):
        bootstrap_interval([1], [1], seed=1, blocks=["a", "b", "c"])
