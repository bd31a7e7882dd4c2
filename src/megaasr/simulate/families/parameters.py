"""Random parameters of noises, from the few functions of a random stream that never change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Option = TypeVar("Option")


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform between two positive limits."""
    return float(low * (high / low) ** rng.random())


def log_uniform_count(rng: np.random.Generator, low: int, high: int) -> int:
    """Draw a whole number, small ones more often, between two positive limits."""
    return min(high, int(log_uniform(rng, low, high + 1)))


def pick(rng: np.random.Generator, options: Sequence[Option]) -> Option:
    """Draw an option, each with equal probability."""
    return options[int(rng.integers(len(options)))]


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Draw whether something with this probability happens."""
    return bool(rng.random() < probability)
