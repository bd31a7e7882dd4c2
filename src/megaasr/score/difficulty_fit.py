"""Fit positions to error rates: pure functions, see `simulate.positions`."""

from __future__ import annotations

from collections.abc import Sequence

MIN_STEP = 0.02
"""Least distance between the positions of neighbouring severities."""


def isotonic(values: Sequence[float]) -> list[float]:
    """Return the rising sequence with the least squared difference to equally weighted values.

    The algorithm pools neighbours that violate the order (pool adjacent violators).
    """
    blocks: list[tuple[float, int]] = []  # mean and number of values
    for value in values:
        mean, count = value, 1
        while blocks and blocks[-1][0] > mean:
            previous, size = blocks.pop()
            mean = (previous * size + mean * count) / (size + count)
            count += size
        blocks.append((mean, count))
    return [mean for mean, count in blocks for _ in range(count)]


def position_of_rate(positions: Sequence[float], rates: Sequence[float], target: float) -> float:
    """Return the position at which the error rate reaches a target, by linear interpolation.

    Args:
        positions: measured positions, rising.
        rates: error rate at each position; made monotone before use.
        target: error rate to reach. Beyond the measured rates, the nearest end is returned.
    """
    rising = isotonic(rates)
    if target <= rising[0]:
        return positions[0]
    for index in range(1, len(rising)):
        if target <= rising[index]:
            share = (target - rising[index - 1]) / (rising[index] - rising[index - 1])
            return positions[index - 1] + share * (positions[index] - positions[index - 1])
    return positions[-1]


def fit_positions(
    positions: Sequence[float], rates: Sequence[float], targets: Sequence[float]
) -> list[float]:
    """Return the position of each target rate, strictly rising and at least -1.

    Args:
        positions: measured positions, rising.
        rates: error rate at each position.
        targets: error rates to reach, rising with severity.
    """
    fitted: list[float] = []
    for target in isotonic(targets):
        reached = position_of_rate(positions, rates, target)
        fitted.append(round(max(reached, fitted[-1] + MIN_STEP) if fitted else reached, 3))
    return fitted


def mean_positions(rows: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean of several scenarios' positions at each severity."""
    return [round(sum(column) / len(rows), 3) for column in zip(*rows, strict=True)]
