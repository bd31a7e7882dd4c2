"""The progress bar of all commands: a bar on a terminal, a line per minute in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from megaasr.progress import OnRemarkedProgress

LOG_INTERVAL_S = 60.0
"""Seconds between two lines of progress if standard error is not a terminal."""


@contextmanager
def progress_bar(unit: str) -> Iterator[OnRemarkedProgress]:
    """Yield a callback that shows progress on standard error.

    Args:
        unit: name of the counted items in the plural, such as `clips`.
    """
    if sys.stderr.isatty():
        yield from _terminal(unit)
        return
    last = time.monotonic()

    def advance(done: int, total: int, remark: str) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= LOG_INTERVAL_S:
            last = time.monotonic()
            print(f"{done} of {total} {_label(unit, remark)}", file=sys.stderr, flush=True)

    yield advance


def _terminal(unit: str) -> Iterator[OnRemarkedProgress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(unit, total=None)
        yield lambda done, total, remark: progress.update(
            task, completed=done, total=total, description=_label(unit, remark)
        )


def _label(unit: str, remark: str) -> str:
    return f"{unit}, {remark}" if remark else unit
