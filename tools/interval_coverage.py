"""How often the 95 % intervals cover the truth, and how often two equal systems get a star.

python tools/interval_coverage.py [--trials 1000] [--draws 1000] [--blocks 20 50 200 1000]

Test sets are drawn from populations whose error rate is known, shaped like those of recognisers:
most clips have no error and a few have many, some texts are invented, speakers differ, and blocks
have unequal sizes. For each, the functions of `megaasr.score.intervals` are called as a benchmark
calls them. Prints Markdown tables for docs/benchmarking.md. Every draw comes from the seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from megaasr.score.intervals import bootstrap_interval, paired_bootstrap

Ints = NDArray[np.int64]
Population = Callable[[np.random.Generator, int], tuple[Ints, Ints]]
"""Returns errors and words of a number of blocks."""
PairedPopulation = Callable[[np.random.Generator, int], tuple[Ints, Ints, Ints]]
"""Returns errors of the baseline, errors of the system, and words of a number of blocks."""
_TRUTH_BLOCKS = 4_000_000
_EQUAL = 5e-4
"""Difference of two equal systems that chance leaves in that many blocks: their true one is 0."""
_CONCENTRATION = 3.0
"""Sum of the beta distribution's parameters: the smaller, the more clips differ."""


def _words(rng: np.random.Generator, blocks: int) -> Ints:
    return rng.integers(3, 25, blocks)


def _rates(rng: np.random.Generator, mean: float, blocks: int) -> NDArray[np.float64]:
    return rng.beta(_CONCENTRATION * mean, _CONCENTRATION * (1 - mean), blocks)


def _clips(mean: float) -> Population:
    def draw(rng: np.random.Generator, blocks: int) -> tuple[Ints, Ints]:
        words = _words(rng, blocks)
        return rng.binomial(words, _rates(rng, mean, blocks)), words

    return draw


def _invented(rng: np.random.Generator, blocks: int) -> tuple[Ints, Ints]:
    errors, words = _clips(0.08)(rng, blocks)
    is_invented = rng.random(blocks) < 0.05
    return np.where(is_invented, words + rng.poisson(3 * words), errors), words


def _speakers(rng: np.random.Generator, blocks: int) -> tuple[Ints, Ints]:
    """Blocks are speakers with 1 to 8 clips, who differ in their error rate."""
    clips = rng.integers(1, 9, blocks)
    words = clips * _words(rng, blocks)
    return rng.binomial(words, rng.beta(0.6, 3.4, blocks)), words


def _unequal(rng: np.random.Generator, blocks: int) -> tuple[Ints, Ints]:
    """Blocks are recordings whose lengths are lognormal: a few hold most of the words."""
    words = 1 + rng.poisson(10 * np.ceil(rng.lognormal(1.0, 0.8, blocks)))
    return rng.binomial(words, _rates(rng, 0.1, blocks)), words


RATES: dict[str, Population] = {
    "4 % errors, most clips have none": _clips(0.04),
    "10 % errors": _clips(0.1),
    "35 % errors": _clips(0.35),
    "speakers, 15 % errors": _speakers,
    "recordings of unequal length": _unequal,
    "one clip in 20 is invented text": _invented,
}


def _pair(
    baseline: float, system: float, *, invented: tuple[float, float] = (0, 0), share: float = 1.0
) -> PairedPopulation:
    """Two systems that find the same clips hard.

    Args:
        baseline: error rate of the baseline.
        system: error rate of the system on the clips where they differ.
        invented: share of the clips in which the baseline and the system invent a text.
        share: share of the clips on which the systems differ at all.
    """

    def draw(rng: np.random.Generator, blocks: int) -> tuple[Ints, Ints, Ints]:
        words = _words(rng, blocks)
        difficulty = _rates(rng, baseline, blocks)
        first = rng.binomial(words, difficulty)
        second = rng.binomial(words, difficulty * system / baseline)
        second = np.where(rng.random(blocks) < share, second, first)
        for errors, chance in zip((first, second), invented, strict=True):
            is_invented = rng.random(blocks) < chance
            errors[is_invented] = 4 * words[is_invented]
        return first, second, words

    return draw


PAIRS: dict[str, PairedPopulation] = {
    "equal, 4 % errors": _pair(0.04, 0.04),
    "equal, 20 % errors": _pair(0.2, 0.2),
    "equal, differ on one clip in 5": _pair(0.2, 0.2, share=0.2),
    "equal, each invents one text in 30": _pair(0.1, 0.1, invented=(1 / 30, 1 / 30)),
    "20 % against 16 %": _pair(0.2, 0.16),
    "10 % against 5 %": _pair(0.1, 0.05),
    "10 % against 10 % and invented texts": _pair(0.1, 0.1, invented=(0, 1 / 30)),
}


def coverage(population: Population, blocks: int, trials: int, draws: int, seed: int) -> float:
    """Return the share of test sets whose interval contains the population's error rate."""
    errors, words = population(np.random.default_rng([seed, 0]), _TRUTH_BLOCKS)
    truth = errors.sum() / words.sum()
    rng = np.random.default_rng([seed, 1, blocks])
    covered = 0
    for trial in range(trials):
        errors, words = population(rng, blocks)
        interval = bootstrap_interval(
            errors.tolist(), words.tolist(), seed=trial, replications=draws
        )
        if interval is None:
            raise SystemExit(f"{blocks} blocks are too few for an interval")
        covered += interval[0] <= truth <= interval[1]
    return covered / trials


def paired_coverage(
    population: PairedPopulation, blocks: int, trials: int, draws: int, seed: int
) -> tuple[float, float]:
    """Return the share of intervals that contain the difference, and that of p-values below 5 %."""
    first, second, words = population(np.random.default_rng([seed, 2]), _TRUTH_BLOCKS)
    truth = (second.sum() - first.sum()) / words.sum()
    if abs(truth) < _EQUAL:
        truth = 0.0
    rng = np.random.default_rng([seed, 3, blocks])
    covered = starred = 0
    for trial in range(trials):
        first, second, words = population(rng, blocks)
        result = paired_bootstrap(
            first.tolist(), second.tolist(), words.tolist(), seed=trial, replications=draws
        )
        if result.interval is None:
            raise SystemExit(f"{blocks} blocks are too few for a comparison")
        covered += result.interval[0] <= truth <= result.interval[1]
        starred += result.is_significant(0.05)
    return covered / trials, starred / trials


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=1_000, help="test sets of each kind")
    parser.add_argument("--draws", type=int, default=1_000, help="bootstrap draws of each test set")
    parser.add_argument("--blocks", type=int, nargs="+", default=[20, 50, 200, 1_000])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    settings = (options.trials, options.draws, options.seed)
    head = " | ".join(f"{blocks:,} blocks" for blocks in options.blocks)
    rule = "|---" * (len(options.blocks) + 1) + "|"
    print(f"| an error rate | {head} |\n{rule}")
    for name, population in RATES.items():
        shares = [coverage(population, blocks, *settings) for blocks in options.blocks]
        print(f"| {name} | " + " | ".join(f"{100 * s:.1f} %" for s in shares) + " |", flush=True)
    print(f"\n| a difference of two systems | {head} |\n{rule}")
    for name, pair in PAIRS.items():
        both = [paired_coverage(pair, blocks, *settings) for blocks in options.blocks]
        cells = [f"{100 * covered:.1f} % (stars {100 * stars:.1f} %)" for covered, stars in both]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
