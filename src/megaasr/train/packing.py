"""Batches of similar length: a limit on their length with padding, not on their number."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def pack_by_length(
    examples: Iterable[T], length: Callable[[T], float], limit: float
) -> list[list[T]]:
    """Cut examples into batches, in their order.

    Args:
        examples: the examples, sorted by length at least roughly.
        length: returns the length of an example, in any unit.
        limit: maximum of a batch in that unit: its longest example times their number. An example
            that is longer makes a batch of its own.
    """
    batches: list[list[T]] = []
    batch: list[T] = []
    longest = 0.0
    for example in examples:
        longest = max(longest, length(example))
        if batch and longest * (len(batch) + 1) > limit:
            batches.append(batch)
            batch, longest = [], length(example)
        batch.append(example)
    return [*batches, batch] if batch else batches
