"""Confidence intervals of error rates, and comparisons of two systems, by bootstrap over blocks.

Bisani and Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation":
test sets are drawn with replacement, and errors and words are pooled in each draw. Two systems are
compared on the same draws. Clips that are not independent (copies of a sentence, a speaker's clips)
are drawn together, as a block.

Most clips have no error and a few have many, so the rate of a small test set is skewed, and the
percentiles of the draws miss the truth too often on the high side. The intervals of rates are
therefore bootstrap-t intervals (Efron and Tibshirani 1993, chapter 12): each draw's deviation is
divided by its own standard error.

Two systems often differ on a few clips only, and there no bootstrap keeps its level. Comparisons
therefore use the randomisation test: if there is no difference, then exchanging the systems in any
half of the blocks changes nothing. Its interval is that of all differences that it does not reject,
which are those between the rates of random halves of the blocks (Hartigan 1969, "Using subsample
values as typical values").

How often either covers the truth is measured by `tools/interval_coverage.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_BLOCKS = 20
"""Independent blocks below which nothing is said of a rate but the rate itself."""
TOO_FEW = "too few clips"
"""What is shown in place of an interval or a test below `MIN_BLOCKS`."""
_MAX_CLIPS_IN_MEMORY = 2_500_000
"""Clips in all the draws that are made at a time: bounds memory to some 60 MB."""
_MIN_RELATIVE_ERROR = 0.2
"""Least standard error of a draw, as a share of the sample's: a draw without the few bad clips has
almost none, and would make the interval endless."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """A system against a baseline on the same clips.

    Attributes:
        difference: the system's pooled error rate minus the baseline's; negative is better.
        blocks: number of independent blocks. Below `MIN_BLOCKS`, all that follows is None.
        low, high: ends of the interval of the difference.
        probability_of_improvement: share of the draws in which the system is better; draws with
            equal rates count half.
        p_value: two-sided p-value of the randomisation test, at least 1 / (replications + 1) and at
            most 1; below 1 - level where the interval excludes 0.
    """

    difference: float
    blocks: int
    low: float | None = None
    high: float | None = None
    probability_of_improvement: float | None = None
    p_value: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval of the difference; None with too few blocks."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def is_significant(self, level: float) -> bool:
        """Tell whether the p-value is below a level; never with too few blocks."""
        return self.p_value is not None and self.p_value < level

    def describe(self) -> str:
        """Return the difference with interval and p-value in points, or that clips are too few."""
        difference = f"{100 * self.difference:+.2f}"
        if self.low is None or self.high is None or self.p_value is None:
            return f"{difference} ({TOO_FEW})"
        ends = f"{100 * self.low:+.2f} to {100 * self.high:+.2f}"
        return f"{difference} ({ends}), p {self.p_value:.2g}"


def bootstrap_interval(
    errors: Sequence[int],
    words: Sequence[int],
    *,
    seed: int,
    replications: int = 10_000,
    level: float = 0.95,
    blocks: Sequence[str] | None = None,
    min_blocks: int = MIN_BLOCKS,
) -> tuple[float, float] | None:
    """Return the interval of the pooled rate sum(errors) / sum(words).

    If every block has the same rate (no error in any of them), the draws show no spread; the end
    is then the one that a share of unseen blocks of 1 - (tail)^(1 / blocks) would bring about.

    Args:
        errors: number of errors of each clip; 0 or 1 if the rate is a share of clips.
        words: length of each clip's reference in tokens; 1 if the rate is a share of clips.
        seed: seed of the draws.
        replications: number of test sets to draw.
        level: probability mass inside the interval, 0..1.
        blocks: the name of each clip's block; blocks are drawn whole. None: every clip is a block.
        min_blocks: number of blocks from which on there is an interval, at least 2.

    Returns:
        Low and high end, the low one at least 0; None with fewer blocks.

    Raises:
        ValueError: there are no clips, or the sequences differ in length.
    """
    table = _sum_by_block([errors, words], blocks)
    if table.shape[1] < max(2, min_blocks):
        return None
    draws = _Draws.make(table, seed, replications)
    tail = (1 - level) / 2
    if draws.standard_error == 0:
        unseen = 1 - tail ** (1 / table.shape[1])
        low, high = draws.rate * (1 - unseen), draws.rate * (1 - unseen) + unseen
        return low, max(high, draws.rate)
    low, high = draws.interval(tail)
    return max(0.0, low), high


def paired_bootstrap(
    baseline_errors: Sequence[int],
    system_errors: Sequence[int],
    words: Sequence[int],
    *,
    seed: int,
    replications: int = 10_000,
    level: float = 0.95,
    blocks: Sequence[str] | None = None,
    min_blocks: int = MIN_BLOCKS,
) -> PairedComparison:
    """Compare a system with a baseline on the same clips.

    If the difference is the same in every block, the interval is as wide as that of a rate would
    be, see `bootstrap_interval`.

    Args:
        baseline_errors: the baseline's errors on each clip.
        system_errors: the system's errors on each clip.
        words: length of each clip's reference in tokens.
        seed: seed of the draws.
        replications: number of test sets, and of halves, to draw.
        level: probability mass inside the interval of the difference, 0..1.
        blocks: the name of each clip's block; blocks are drawn whole. None: every clip is a block.
        min_blocks: number of blocks from which on there is more than a difference, at least 2.

    Raises:
        ValueError: there are no clips, or the sequences differ in length.
    """
    sums = _sum_by_block([baseline_errors, system_errors, words], blocks)
    table = np.stack([sums[1] - sums[0], sums[2]])
    count = table.shape[1]
    if count < max(2, min_blocks):
        total = table.sum(axis=1)
        return PairedComparison(float(total[0] / max(total[1], 1)), count)
    difference = float(table[0].sum() / max(table[1].sum(), 1))
    lows, highs = _rates_of_halves(table, seed, replications)
    low, high = float(np.quantile(lows, 1 - level)), float(np.quantile(highs, level))
    if low == high:
        unseen = 1 - ((1 - level) / 2) ** (1 / count)
        low, high = low - unseen, high + unseen
    beyond = np.count_nonzero(lows <= 0 if difference > 0 else highs >= 0)
    sums = np.concatenate([sums[0] for sums in _draw_sums(table[:1], seed, replications)])
    better, worse = float((sums < 0).mean()), float((sums > 0).mean())
    return PairedComparison(
        difference=difference,
        blocks=count,
        low=low,
        high=high,
        probability_of_improvement=better + (1.0 - better - worse) / 2,
        p_value=float((1 + beyond) / (1 + replications)),
    )


def count_blocks(clips: int, blocks: Sequence[str] | None) -> int:
    """Return the number of independent blocks of a number of clips."""
    return clips if blocks is None else len(set(blocks))


@dataclass(frozen=True, slots=True)
class _Draws:
    """A rate, and how far the rates of drawn test sets deviate from it.

    Attributes:
        rate: pooled rate of all blocks.
        standard_error: standard error of the rate; 0 if all blocks have the same rate.
        deviations: each draw's deviation from the rate, in its own standard errors, sorted, float64
            of shape [draws].
    """

    rate: float
    standard_error: float
    deviations: Floats

    @classmethod
    def make(cls, table: Floats, seed: int, replications: int) -> _Draws:
        """Draw test sets from a table of errors and words, float64 of shape [2, blocks]."""
        errors, words = table
        moments = np.stack([errors, words, errors**2, errors * words, words**2])
        rate, standard_error = _rate_and_error(moments.sum(axis=1), table.shape[1])
        samples = [
            _rate_and_error(sums, table.shape[1])
            for sums in _draw_sums(moments, seed, replications)
        ]
        rates = np.concatenate([rates for rates, _ in samples])
        least = max(_MIN_RELATIVE_ERROR * float(standard_error), 1e-300)
        error_of_draw = np.maximum(np.concatenate([errors for _, errors in samples]), least)
        deviations = np.sort((rates - rate) / error_of_draw)
        return cls(float(rate), float(standard_error), deviations)

    def interval(self, tail: float) -> tuple[float, float]:
        """Return the ends with a probability of `tail` on either side."""
        most, least = np.quantile(self.deviations, [1 - tail, tail])
        ends = self.rate - self.standard_error * np.array([most, least])
        return float(ends[0]), float(ends[1])


def _rate_and_error(sums: Floats, blocks: int) -> tuple[Floats, Floats]:
    """Return pooled rates and their standard errors, that of a ratio of sums.

    Args:
        sums: sums of errors, words, their squares and products, of shape [5] or [5, draws].
        blocks: number of blocks that were summed.
    """
    errors, words, errors_squared, products, words_squared = sums
    words = np.maximum(words, 1.0)
    rates = errors / words
    squares = errors_squared - 2 * rates * products + rates**2 * words_squared
    # What is left of equal numbers by rounding is no spread.
    squares = np.where(squares > 1e-9 * np.maximum(errors_squared, 1e-9), squares, 0.0)
    return rates, np.sqrt(squares * blocks / (blocks - 1)) / words


def _sum_by_block(columns: Sequence[Sequence[int]], blocks: Sequence[str] | None) -> Floats:
    """Return the columns as float64 of shape [columns, blocks], or [columns, clips] without."""
    *errors, words = columns
    labels = len(words) if blocks is None else len(blocks)
    if len({labels, *map(len, columns)}) != 1 or not len(words):
        counts = " and ".join(f"{len(column)} error counts" for column in errors)
        in_blocks = "" if blocks is None else f" in {labels} blocks"
        raise ValueError(
            f"{counts} and {len(words)} word counts{in_blocks}: every list needs one value per "
            "clip, and at least one clip"
        )
    table = np.asarray(columns, float)
    if blocks is None:
        return table
    _, members = np.unique(np.asarray(blocks), return_inverse=True)
    return np.stack([np.bincount(members, weights=column) for column in table])


def _rates_of_halves(table: Floats, seed: int, replications: int) -> tuple[Floats, Floats]:
    """Return the lower and the higher rate of each pair of random halves of the blocks.

    The rate of all blocks is always between the two.

    Args:
        table: differences of the errors, and words, float64 of shape [2, blocks].
        seed: seed of the draws; blocks are in either half with equal probability.
        replications: number of pairs.
    """
    rng = np.random.default_rng([seed, 1])
    size = table.shape[1]
    batch = max(1, min(500, _MAX_CLIPS_IN_MEMORY // size))
    totals = table.sum(axis=1, keepdims=True)
    lows, highs = [], []
    for start in range(0, replications, batch):
        draws = min(batch, replications - start)
        chosen = np.frombuffer(rng.bytes(draws * (-(-size // 8))), np.uint8).reshape(draws, -1)
        is_first = np.unpackbits(chosen, axis=1, count=size).astype(float)
        first = table @ is_first.T
        second = totals - first
        rates = [half[0] / np.maximum(half[1], 1.0) for half in (first, second)]
        lows.append(np.minimum(*rates))
        highs.append(np.maximum(*rates))
    return np.concatenate(lows), np.concatenate(highs)


def _draw_sums(table: Floats, seed: int, replications: int) -> Iterator[Floats]:
    """Yield each column's sums over drawn test sets, arrays of shape [columns, draws].

    The columns hold whole numbers, so the sums are exact, in whatever order they are added.
    """
    rng = np.random.default_rng(seed)
    size = table.shape[1]
    batch = max(1, min(500, _MAX_CLIPS_IN_MEMORY // size))
    for start in range(0, replications, batch):
        draws = min(batch, replications - start)
        indices = rng.integers(0, size, size=(draws, size))
        indices += size * np.arange(draws)[:, None]
        times = np.bincount(indices.ravel(), minlength=draws * size).reshape(draws, size)
        yield table @ times.T.astype(float)
