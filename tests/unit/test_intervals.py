"""The bootstrap interval against a plain loop, against theory, and in corner cases."""

from __future__ import annotations

import random

import numpy as np
import pytest

from megaasr.score.intervals import bootstrap_interval, paired_bootstrap


def clips(count: int, seed: int = 0, rate: float = 0.2) -> tuple[list[int], list[int]]:
    rng = np.random.default_rng(seed)
    words = rng.integers(1, 20, size=count)
    return rng.binomial(words, rate).tolist(), words.tolist()


def plain_interval(
    errors: list[int], words: list[int], draws: int, level: float
) -> tuple[float, float]:
    """Draw clips one by one with another generator; percentiles by sorting."""
    chance = random.Random(99)
    rates = []
    for _ in range(draws):
        errors_drawn = words_drawn = 0
        for _ in errors:
            clip = chance.randrange(len(errors))
            errors_drawn += errors[clip]
            words_drawn += words[clip]
        rates.append(errors_drawn / words_drawn)
    rates.sort()
    tail = (1 - level) / 2
    return rates[round(tail * (draws - 1))], rates[round((1 - tail) * (draws - 1))]


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_equals_a_plain_loop(level: float) -> None:
    errors, words = clips(60)
    low, high = bootstrap_interval(errors, words, seed=3, level=level)
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
    wide = bootstrap_interval(errors, words, seed=1, level=0.99)
    narrow = bootstrap_interval(errors, words, seed=1, level=0.5)
    assert wide[0] < narrow[0] < rate < narrow[1] < wide[1]


def test_shrinks_with_the_square_root_of_the_clips() -> None:
    errors, words = clips(50)
    few = bootstrap_interval(errors, words, seed=1, replications=4_000)
    many = bootstrap_interval(errors * 16, words * 16, seed=1, replications=4_000)
    assert (few[1] - few[0]) / (many[1] - many[0]) == pytest.approx(4.0, rel=0.1)


def test_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(300):
        errors, words = clips(60, seed=seed, rate=0.3)
        low, high = bootstrap_interval(errors, words, seed=seed, replications=400, level=0.9)
        covered += low <= 0.3 <= high
    assert 0.83 <= covered / 300 <= 0.95


def test_two_clips_have_three_rates() -> None:
    # The pooled rate is 0, 1/2 or 1 with probabilities 1/4, 1/2 and 1/4.
    assert bootstrap_interval([0, 1], [1, 1], seed=1) == (0.0, 1.0)
    assert bootstrap_interval([0, 1], [1, 1], seed=1, level=0.4) == (0.5, 0.5)


def test_words_are_pooled_not_clips() -> None:
    # A clip of 99 words without errors weighs more than a wrong one of one word.
    low, high = bootstrap_interval([0, 1], [99, 1], seed=1, level=0.4)
    assert (low, high) == pytest.approx((0.01, 0.01))


@pytest.mark.parametrize(
    ("errors", "words", "expected"),
    [
        ([3], [10], (0.3, 0.3)),
        ([0, 0, 0], [5, 6, 7], (0.0, 0.0)),
        ([5, 6], [5, 6], (1.0, 1.0)),
        ([4, 4], [2, 2], (2.0, 2.0)),
        ([0, 0], [0, 0], (0.0, 0.0)),
        ([2], [0], (2.0, 2.0)),  # nothing was said, two words were heard
    ],
)
def test_degenerate_sets(
    errors: list[int], words: list[int], expected: tuple[float, float]
) -> None:
    assert bootstrap_interval(errors, words, seed=1, replications=50) == expected


@pytest.mark.parametrize(("errors", "words"), [([], []), ([1, 2], [3]), ([], [1])])
def test_counts_must_belong_together(errors: list[int], words: list[int]) -> None:
    message = f"{len(errors)} error counts and {len(words)} word counts"
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(errors, words, seed=1)


def test_blocks_are_drawn_whole() -> None:
    # Two speakers, one all wrong, one all right: with blocks a draw is 0, 0.5 or 1.
    errors, words = [1] * 50 + [0] * 50, [1] * 100
    speakers = ["a"] * 50 + ["b"] * 50
    assert bootstrap_interval(errors, words, seed=1, blocks=speakers) == (0.0, 1.0)
    low, high = bootstrap_interval(errors, words, seed=1)
    assert 0.39 < low < 0.42
    assert 0.58 < high < 0.61
    # A block for each clip is no blocks, but for the order of the draws.
    alone = bootstrap_interval(errors, words, seed=1, blocks=[f"{i:03d}" for i in range(100)])
    assert alone == (low, high)


def test_a_paired_comparison_sees_what_intervals_do_not() -> None:
    rng = np.random.default_rng(0)
    words = [10] * 400
    before = rng.integers(0, 10, 400)
    after = np.maximum(before - (rng.random(400) < 0.1), 0)  # one error less on a tenth of clips
    comparison = paired_bootstrap(before.tolist(), after.tolist(), words, seed=1)
    assert comparison.difference == pytest.approx((after.sum() - before.sum()) / 4000)
    assert comparison.low < comparison.difference < comparison.high < 0
    assert comparison.probability_of_improvement == 1.0
    assert comparison.p_value == 1e-4  # 1 / replications
    ours = bootstrap_interval(after.tolist(), words, seed=1)
    theirs = bootstrap_interval(before.tolist(), words, seed=1)
    assert theirs[0] < ours[1]  # the plain intervals overlap


def test_a_comparison_turned_round() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.integers(0, 6, 80).tolist(), rng.integers(0, 6, 80).tolist()
    words = rng.integers(5, 9, 80).tolist()
    forward = paired_bootstrap(first, second, words, seed=3)
    backward = paired_bootstrap(second, first, words, seed=3)
    assert forward.difference == pytest.approx(-backward.difference)
    assert (forward.low, forward.high) == pytest.approx((-backward.high, -backward.low))
    assert forward.probability_of_improvement == pytest.approx(
        1 - backward.probability_of_improvement
    )
    assert forward.p_value == pytest.approx(backward.p_value)


def test_equal_systems_do_not_differ() -> None:
    errors = [1, 0, 2, 5]
    comparison = paired_bootstrap(errors, errors, [5, 5, 5, 5], seed=1)
    assert (comparison.difference, comparison.low, comparison.high) == (0.0, 0.0, 0.0)
    assert (comparison.probability_of_improvement, comparison.p_value) == (0.5, 1.0)


def test_p_values_are_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(5)
    small = 0
    for seed in range(200):
        first, second = rng.poisson(2, 100).tolist(), rng.poisson(2, 100).tolist()
        comparison = paired_bootstrap(first, second, [10] * 100, seed=seed, replications=500)
        small += comparison.p_value < 0.1
    assert 6 <= small <= 36  # 20 expected; 0.1 % of tries fall outside


def test_paired_counts_and_blocks_must_belong_together() -> None:
    with pytest.raises(ValueError, match="1 error counts and 2 error counts and 1 word counts"):
        paired_bootstrap([1], [1, 2], [1], seed=1)
    with pytest.raises(ValueError, match="in 3 blocks"):
        bootstrap_interval([1], [1], seed=1, blocks=["a", "b", "c"])
