"""Metrics that are summed over batches, steps and processes before they are averaged."""

from __future__ import annotations

from collections.abc import Mapping


class Sums(dict[str, float]):
    """Sums by name; a name that nothing was added to has the sum 0."""

    def __missing__(self, name: str) -> float:
        return 0.0

    def add(self, values: Mapping[str, float]) -> None:
        """Add values by name."""
        for name, value in values.items():
            self[name] += value
