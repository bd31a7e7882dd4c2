"""Confidence intervals of error rates, and comparisons of two systems, by the bootstrap over clips.

Bisani and Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance
evaluation": clips are drawn with replacement, and errors and words are pooled in each draw. Two
systems are compared on the same draws. Where clips belong together (a speaker, a recording),
whole blocks are drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DRAWN_AT_ONCE = 2_500_000
"""Clips in all draws that are made together: bounds memory to some 60 MB."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """A system against a baseline on the same clips.

    Attributes:
        difference: the system's pooled rate minus the baseline's; negative is better.
        low, high: percentile interval of the difference.
        probability_of_improvement: share of the draws in which the system is better; draws that
            are equal count half.
        p_value: two-sided: twice the share of the draws on the rarer side of no difference, at
            least 1 / replications and at most 1.
    """

    difference: float
    low: float
    high: float
    probability_of_improvement: float
    p_value: float


def bootstrap_interval(
    errors: Sequence[int],
    words: Sequence[int],
    *,
    seed: int,
    replications: int = 10_000,
    level: float = 0.95,
    blocks: Sequence[str] | None = None,
) -> tuple[float, float]:
    """Return the percentile interval of the pooled rate sum(errors) / sum(words).

    Args:
        errors, words: per clip; a rate of clips has 0 or 1 and 1.
        seed: source of the draws.
        replications: draws of a whole test set.
        level: probability mass inside the interval.
        blocks: per clip, what it belongs to; None draws clips.

    Raises:
        ValueError: no clips, or sequences of different length.
    """
    table = _table([errors, words], blocks)
    rates = np.concatenate(
        [drawn[0] / np.maximum(drawn[1], 1) for drawn in _draws(table, seed, replications)]
    )
    return _percentiles(rates, level)


def paired_bootstrap(
    baseline_errors: Sequence[int],
    system_errors: Sequence[int],
    words: Sequence[int],
    *,
    seed: int,
    replications: int = 10_000,
    level: float = 0.95,
    blocks: Sequence[str] | None = None,
) -> PairedComparison:
    """Compare two systems on the same clips; arguments as for `bootstrap_interval`.

    Raises:
        ValueError: no clips, or sequences of different length.
    """
    table = _table([baseline_errors, system_errors, words], blocks)
    before, after, total = table.sum(axis=1)
    differences = np.concatenate(
        [
            (drawn[1] - drawn[0]) / np.maximum(drawn[2], 1)
            for drawn in _draws(table, seed, replications)
        ]
    )
    low, high = _percentiles(differences, level)
    better, worse = float((differences < 0).mean()), float((differences > 0).mean())
    equal = 1.0 - better - worse
    rarer = min(better, worse) + equal
    return PairedComparison(
        difference=float((after - before) / max(total, 1)),
        low=low,
        high=high,
        probability_of_improvement=better + equal / 2,
        p_value=min(1.0, max(2 * rarer, 1 / replications)),
    )


def _table(columns: Sequence[Sequence[int]], blocks: Sequence[str] | None) -> Floats:
    """Return [columns, clips or blocks] float64."""
    *errors, words = columns
    labels = len(words) if blocks is None else len(blocks)
    if len({labels, *map(len, columns)}) != 1 or not len(words):
        counts = " and ".join(f"{len(column)} error counts" for column in errors)
        named = "" if blocks is None else f" in {labels} blocks"
        raise ValueError(f"{counts} and {len(words)} word counts{named}: as many of each, not none")
    table = np.asarray(columns, float)
    if blocks is None:
        return table
    _, members = np.unique(np.asarray(blocks), return_inverse=True)
    return np.stack([np.bincount(members, weights=column) for column in table])


def _draws(table: Floats, seed: int, replications: int) -> Iterator[Floats]:
    """Yield sums over whole drawn test sets, [columns, draws] each."""
    rng = np.random.default_rng(seed)
    size = table.shape[1]
    at_once = max(1, min(500, _DRAWN_AT_ONCE // size))
    for start in range(0, replications, at_once):
        rows = min(at_once, replications - start)
        drawn = rng.integers(0, size, size=(rows, size))
        yield np.stack([column[drawn].sum(axis=1) for column in table])


def _percentiles(values: Floats, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
