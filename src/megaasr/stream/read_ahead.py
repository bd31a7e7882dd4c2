"""Blocks of a live source, read in a thread so that the source never waits for the model."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from megaasr.audio.waveform import Samples

_POLL_S = 0.005


class ReadAhead:
    """An iterator over the blocks of a source that may be stopped at any time.

    Everything that was read before `stop` is still yielded. An error of the source is raised after
    the blocks before it.

    Args:
        blocks: blocks of samples, float32 of shape [time].
        sample_rate: samples per second.
        limit_s: seconds of audio that are read ahead of a source that can wait; None for a live
            one, which cannot.
    """

    def __init__(
        self, blocks: Iterable[Samples], sample_rate: int, *, limit_s: float | None = None
    ) -> None:
        self._blocks, self._rate, self._limit_s = blocks, sample_rate, limit_s
        # Not `Queue`: a signal handler may call `stop` while the main thread is in `get`.
        self._queue: SimpleQueue[Samples | BaseException | None] = SimpleQueue()
        self._read = self._taken = 0
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="read ahead", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __iter__(self) -> Iterator[Samples]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            self._taken += len(item)
            yield item

    @property
    def waiting_s(self) -> float:
        """Seconds of audio that were read and not taken yet."""
        return (self._read - self._taken) / self._rate

    def stop(self) -> None:
        """Read no more; the iterator ends after what has been read."""
        self._is_stopped = True
        self._queue.put(None)

    def _run(self) -> None:
        try:
            for block in self._blocks:
                if self._is_stopped:
                    return
                self._read += len(block)
                self._queue.put(block)
                while self._limit_s is not None and self.waiting_s > self._limit_s:
                    if self._is_stopped:
                        return
                    time.sleep(_POLL_S)
        except BaseException as error:  # raised where the blocks are used
            self._queue.put(error)
        self._queue.put(None)


def paced(blocks: Iterable[Samples], sample_rate: int, pace: float) -> Iterator[Samples]:
    """Yield blocks when they would come from a live source.

    Args:
        blocks: blocks of samples, float32 of shape [time].
        sample_rate: samples per second.
        pace: seconds of audio in a second, above 0; 1 is real time.
    """
    start = time.monotonic()
    count = 0
    for block in blocks:
        count += len(block)
        time.sleep(max(0.0, start + count / sample_rate / pace - time.monotonic()))
        yield block
