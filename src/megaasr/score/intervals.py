"""Confidence intervals of error rates, and comparisons of two systems, by bootstrap over clips.

Bisani and Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation":
clips are drawn with replacement, and errors and words are pooled in each draw. Two systems are
compared on the same draws. Where clips belong together (a speaker, a recording), they are drawn
together, as a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MAX_CLIPS_IN_MEMORY = 2_500_000
"""Clips in all the draws that are made at a time: bounds memory to some 60 MB."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """A system against a baseline on the same clips.

    Attributes:
        difference: the system's pooled error rate minus the baseline's; negative is better.
        low, high: ends of the percentile interval of the difference.
        probability_of_improvement: share of the draws in which the system is better; draws with
            equal rates count half.
        p_value: two-sided p-value: twice the share of the draws on the rarer side of no difference,
            at least 1 / replications and at most 1.
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
        errors: number of errors of each clip; 0 or 1 if the rate is a share of clips.
        words: length of each clip's reference in tokens; 1 if the rate is a share of clips.
        seed: seed of the draws.
        replications: number of test sets to draw.
        level: probability mass inside the interval, 0..1.
        blocks: the name of each clip's block; blocks are drawn whole. None draws single clips.

    Raises:
        ValueError: there are no clips, or the sequences differ in length.
    """
    table = _sum_by_block([errors, words], blocks)
    rates = np.concatenate(
        [sums[0] / np.maximum(sums[1], 1) for sums in _draw_sums(table, seed, replications)]
    )
    return _percentile_interval(rates, level)


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
    """Compare a system with a baseline on the same clips.

    Args:
        baseline_errors: the baseline's errors on each clip.
        system_errors: the system's errors on each clip.
        words: length of each clip's reference in tokens.
        seed: seed of the draws.
        replications: number of test sets to draw.
        level: probability mass inside the interval of the difference, 0..1.
        blocks: the name of each clip's block; blocks are drawn whole. None draws single clips.

    Raises:
        ValueError: there are no clips, or the sequences differ in length.
    """
    table = _sum_by_block([baseline_errors, system_errors, words], blocks)
    baseline_total, system_total, total_words = table.sum(axis=1)
    differences = np.concatenate(
        [
            (sums[1] - sums[0]) / np.maximum(sums[2], 1)
            for sums in _draw_sums(table, seed, replications)
        ]
    )
    low, high = _percentile_interval(differences, level)
    better, worse = float((differences < 0).mean()), float((differences > 0).mean())
    equal = 1.0 - better - worse
    rarer = min(better, worse) + equal
    return PairedComparison(
        difference=float((system_total - baseline_total) / max(total_words, 1)),
        low=low,
        high=high,
        probability_of_improvement=better + equal / 2,
        p_value=min(1.0, max(2 * rarer, 1 / replications)),
    )


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


def _draw_sums(table: Floats, seed: int, replications: int) -> Iterator[Floats]:
    """Yield each column's sums over drawn test sets, arrays of shape [columns, draws]."""
    rng = np.random.default_rng(seed)
    size = table.shape[1]
    batch = max(1, min(500, _MAX_CLIPS_IN_MEMORY // size))
    for start in range(0, replications, batch):
        draws = min(batch, replications - start)
        indices = rng.integers(0, size, size=(draws, size))
        yield np.stack([column[indices].sum(axis=1) for column in table])


def _percentile_interval(values: Floats, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
