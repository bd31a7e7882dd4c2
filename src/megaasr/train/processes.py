"""The part of this process in a run of several, as the launcher (torchrun) tells it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def is_main_process() -> bool:
    """Tell whether this process writes the results of the run."""
    return int(os.environ.get("RANK", "0")) == 0


def process_count() -> int:
    """Return the number of processes of the run, on all machines together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def own_share(batch: Sequence[T], rank: int, processes: int) -> Sequence[T]:
    """Return the examples of a batch that one process takes.

    A batch smaller than the number of processes gives some of them its first example, since every
    process has to take part in every step.

    Args:
        batch: all examples of a step.
        rank: index of the process, from 0.
        processes: number of processes.
    """
    return batch[rank::processes] or batch[:1]
