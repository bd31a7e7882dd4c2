"""Whose turn it is: requests wait in bounded queues, and clients take turns."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from megaasr.serve.error_responses import RequestError

_MAX_RETRY_S = 60.0
_SMOOTHING = 0.2  # of the mean duration


class AdmissionQueue:
    """Lets a number of requests run at the same time; a client with many does not delay others.

    It belongs to one event loop.

    Args:
        max_running: requests that run at the same time.
        max_waiting: requests that wait.
        max_waiting_per_client: requests of one client that wait.
    """

    def __init__(self, max_running: int, max_waiting: int, max_waiting_per_client: int) -> None:
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._max_waiting_per_client = max_waiting_per_client
        self._running = 0
        self._mean_s = 1.0
        # In the order of their turns: a client that had one goes to the end.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def running(self) -> int:
        """Number of requests that run."""
        return self._running

    @property
    def waiting(self) -> int:
        """Number of requests that wait."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:
        """Wait for a client's turn, and hold it inside the context.

        Raises:
            RequestError: 429, too many requests wait.
        """
        await self._acquire(client)
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            yield
        finally:
            self._mean_s += _SMOOTHING * (loop.time() - start - self._mean_s)
            self._release()

    async def _acquire(self, client: str) -> None:
        if self._running < self._max_running:
            self._running += 1
            return
        own = len(self._waiting.get(client, ()))
        if self.waiting >= self._max_waiting or own >= self._max_waiting_per_client:
            raise RequestError(
                429,
                f"the server is busy: {self._running} requests run and {self.waiting} wait, {own} "
                "of them from this client; try again later",
                code="server_busy",
                retry_after_s=self._retry_after_s(),
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was given the turn in the same moment
                self._release()
            else:
                self._remove(client, turn)
            raise

    def _release(self) -> None:
        """Pass a turn on to the next client, or free it."""
        for client in list(self._waiting):
            queue = self._waiting.pop(client)
            turn = queue.popleft()
            if queue:
                self._waiting[client] = queue
            if not turn.done():
                turn.set_result(None)
                return
        self._running -= 1

    def _remove(self, client: str, turn: asyncio.Future[None]) -> None:
        queue = self._waiting.get(client)
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._waiting[client]

    def _retry_after_s(self) -> float:
        expected_s = self._mean_s * (self.waiting + 1) / self._max_running
        return min(max(1.0, expected_s), _MAX_RETRY_S)
