"""Processes that work on tasks: no task is lost, none outlives its parent, Ctrl-C ends at once."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar, cast

from megaasr.errors import CorpusError

Task = TypeVar("Task")
Result = TypeVar("Result")
Note = TypeVar("Note")
Job = Callable[[Task, Callable[[Note], None]], Result]
"""What to do with a task; it may send notes on the way. Picklable."""


def work(
    job: Job[Task, Note, Result],
    tasks: Iterable[Task],
    *,
    workers: int,
    on_note: Callable[[Note], None],
    on_result: Callable[[Result], None],
) -> None:
    """Do all tasks, in any order.

    Args:
        job: what to do with a task.
        tasks: taken one by one, when a process is free.
        workers: processes; 1 works in this one.
        on_note, on_result: called in this process, as notes and results come.

    Raises:
        CorpusError: a process died.
        Exception: whatever a task raised; the others are ended.
    """
    if workers == 1:
        for task in tasks:
            on_result(job(task, on_note))
        return
    with _crew(job, workers) as crew:
        _hand_out(crew, iter(tasks), on_note, on_result)


class _Worker(Generic[Task]):
    """A process and our end of the line to it."""

    def __init__(self, job: Any) -> None:
        # Spawned, not forked: the same on every system, and safe whatever threads run here.
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(job, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def receive(self) -> tuple[str, Any]:
        try:
            kind, value = self.line.recv()
        except (EOFError, OSError) as error:
            self.process.join()
            raise CorpusError(
                f"a worker process died (exit code {self.process.exitcode}), perhaps for want of "
                "memory; run the same command again, it continues, with fewer workers or a "
                "smaller shard_size in another folder"
            ) from error
        return kind, value


@contextmanager
def _crew(job: Any, workers: int) -> Iterator[dict[Connection, _Worker[Any]]]:
    crew: dict[Connection, _Worker[Any]] = {}
    try:
        with _interrupts_ignored():  # inherited: Ctrl-C is for the parent alone
            for _ in range(workers):
                worker = _Worker[Any](job)
                crew[worker.line] = worker
        yield crew
    finally:
        for worker in crew.values():
            worker.line.close()
            worker.process.terminate()
        for worker in crew.values():
            worker.process.join()


def _hand_out(
    crew: dict[Connection, _Worker[Task]],
    tasks: Iterator[Task],
    on_note: Callable[[Any], None],
    on_result: Callable[[Any], None],
) -> None:
    free, busy = list(crew), set[Connection]()
    while True:
        while free and (task := next(tasks, None)) is not None:
            busy.add(free[-1])
            _send(crew[free.pop()], task)
        if not busy:
            return
        for ready in wait(list(busy)):
            line = cast("Connection", ready)
            kind, value = crew[line].receive()
            if kind == "error":
                raise value
            if kind == "note":
                on_note(value)
            else:
                busy.remove(line)
                free.append(line)
                on_result(value)


def _send(worker: _Worker[Task], task: Task) -> None:
    try:
        worker.line.send(task)
    except OSError:  # it died; `receive` says so
        return


def _serve(job: Job[Any, Any, Any], line: Connection) -> None:
    """Run in a worker process until the line is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    while True:
        try:
            task = line.recv()
        except EOFError:
            return
        try:
            line.send(("result", job(task, lambda note: line.send(("note", note)))))
        except Exception as error:
            line.send(("error", _transportable(error)))


def _transportable(error: Exception) -> Exception:
    """Return an error that survives the way to the parent, with what its traceback says."""
    text = traceback.format_exc()
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = RuntimeError(f"{type(error).__name__}: {error}")
    copy.add_note(f"In a worker process: {text}")
    return cast("Exception", copy)


def _die_with_parent() -> None:
    """End at once when the parent is gone, even if it was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # who gets no Ctrl-C
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
