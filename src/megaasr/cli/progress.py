"""One progress bar for every command: rich on a terminal, a line a minute in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOG_EVERY_S = 60.0
Advance = Callable[[int, int, str], None]


@contextmanager
def progress_bar(unit: str) -> Iterator[Advance]:
    """Yield a function that takes (done, total, remark) and shows them on standard error."""
    if sys.stderr.isatty():
        yield from _terminal(unit)
        return
    last = time.monotonic()

    def advance(done: int, total: int, remark: str) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= LOG_EVERY_S:
            last = time.monotonic()
            print(f"{done} of {total} {_with(unit, remark)}", file=sys.stderr, flush=True)

    yield advance


def _terminal(unit: str) -> Iterator[Advance]:
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
            task, completed=done, total=total, description=_with(unit, remark)
        )


def _with(unit: str, remark: str) -> str:
    return f"{unit}, {remark}" if remark else unit
