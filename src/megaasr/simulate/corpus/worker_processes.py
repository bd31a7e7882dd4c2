"""Worker processes: no task is lost, no worker outlives its parent, Ctrl-C ends all at once."""

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
Message = TypeVar("Message")
TaskFunction = Callable[[Task, Callable[[Message], None]], Result]
"""A picklable function that does a task; it may send messages on the way."""


def run_tasks(
    function: TaskFunction[Task, Message, Result],
    tasks: Iterable[Task],
    *,
    workers: int,
    on_message: Callable[[Message], None],
    on_result: Callable[[Result], None],
) -> None:
    """Run all tasks, in any order.

    Args:
        function: does a task.
        tasks: the tasks, which are taken one by one whenever a worker is free.
        workers: number of processes; 1 runs the tasks in this process.
        on_message, on_result: called in this process with messages and results as they arrive.

    Raises:
        CorpusError: a worker died.
        Exception: any error of a task; the other workers are then ended.
    """
    if workers == 1:
        for task in tasks:
            on_result(function(task, on_message))
        return
    with _start_workers(function, workers) as pool:
        _distribute(pool, iter(tasks), on_message, on_result)


class _Worker(Generic[Task]):
    """A worker process and the parent's end of the pipe to it."""

    def __init__(self, function: Any) -> None:
        # Spawned rather than forked: the same on every system, and safe with threads in the parent.
        context = multiprocessing.get_context("spawn")
        self.pipe, child_end = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_serve, args=(function, child_end), daemon=True
        )
        self.process.start()
        child_end.close()

    def receive(self) -> tuple[str, Any]:
        try:
            kind, value = self.pipe.recv()
        except (EOFError, OSError) as error:
            self.process.join()
            raise CorpusError(
                f"a worker process died (exit code {self.process.exitcode}), perhaps for lack of "
                "memory; run the same command again, it continues, with fewer workers or a "
                "smaller shard_size in another folder"
            ) from error
        return kind, value


@contextmanager
def _start_workers(function: Any, workers: int) -> Iterator[dict[Connection, _Worker[Any]]]:
    pool: dict[Connection, _Worker[Any]] = {}
    try:
        with _interrupts_ignored():  # workers inherit this: only the parent handles Ctrl-C
            for _ in range(workers):
                worker = _Worker[Any](function)
                pool[worker.pipe] = worker
        yield pool
    finally:
        for worker in pool.values():
            worker.pipe.close()
            worker.process.terminate()
        for worker in pool.values():
            worker.process.join()


def _distribute(
    pool: dict[Connection, _Worker[Task]],
    tasks: Iterator[Task],
    on_message: Callable[[Any], None],
    on_result: Callable[[Any], None],
) -> None:
    idle, busy = list(pool), set[Connection]()
    while True:
        while idle and (task := next(tasks, None)) is not None:
            busy.add(idle[-1])
            _send(pool[idle.pop()], task)
        if not busy:
            return
        for ready in wait(list(busy)):
            pipe = cast("Connection", ready)
            kind, value = pool[pipe].receive()
            if kind == "error":
                raise value
            if kind == "message":
                on_message(value)
            else:
                busy.remove(pipe)
                idle.append(pipe)
                on_result(value)


def _send(worker: _Worker[Task], task: Task) -> None:
    try:
        worker.pipe.send(task)
    except OSError:  # the worker died, which `receive` reports
        return


def _serve(function: TaskFunction[Any, Any, Any], pipe: Connection) -> None:
    """Do tasks in a worker process until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(("result", function(task, lambda value: pipe.send(("message", value)))))
        except Exception as error:
            pipe.send(("error", _picklable(error)))


def _picklable(error: Exception) -> Exception:
    """Return a copy of an error that can be sent to the parent, with its traceback as a note."""
    text = traceback.format_exc()
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = RuntimeError(f"{type(error).__name__}: {error}")
    copy.add_note(f"In a worker process: {text}")
    return cast("Exception", copy)


def _die_with_parent() -> None:
    """End this process as soon as its parent has ended, even if the parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # other threads receive no Ctrl-C
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if previous is None else previous)
