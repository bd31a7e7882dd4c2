"""Confidence intervals of error rates by the bootstrap over clips.

Bisani and Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance
evaluation": clips are drawn with replacement, and errors and words are pooled in each draw.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_ROWS_AT_ONCE = 500


def bootstrap_interval(
    errors: Sequence[int],
    words: Sequence[int],
    *,
    seed: int,
    replications: int = 10_000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile interval of the pooled rate sum(errors) / sum(words).

    Args:
        errors, words: per clip; a rate of clips has 0 or 1 and 1.
        seed: source of the draws.
        replications: draws of a whole test set.
        level: probability mass inside the interval.

    Raises:
        ValueError: no clips, or sequences of different length.
    """
    numerator, denominator = np.asarray(errors, float), np.asarray(words, float)
    if numerator.size == 0 or numerator.shape != denominator.shape:
        raise ValueError(f"{numerator.size} error counts and {denominator.size} word counts")
    rng = np.random.default_rng(seed)
    rates = np.empty(replications)
    for start in range(0, replications, _ROWS_AT_ONCE):
        rows = min(_ROWS_AT_ONCE, replications - start)
        drawn = rng.integers(0, numerator.size, size=(rows, numerator.size))
        pooled = numerator[drawn].sum(axis=1) / np.maximum(denominator[drawn].sum(axis=1), 1)
        rates[start : start + rows] = pooled
    tail = (1 - level) / 2
    low, high = np.quantile(rates, [tail, 1 - tail])
    return float(low), float(high)
