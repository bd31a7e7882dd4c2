"""Live sessions for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from numpy.typing import NDArray

from megaasr.stream.events import Event
from megaasr.stream.session import StreamSession


class AsyncStreamSession:
    """A session whose model runs in a thread while the event loop goes on.

    Args:
        session: the session; nothing else may use it.
    """

    def __init__(self, session: StreamSession) -> None:
        self._session = session
        self._lock = asyncio.Lock()

    def feed(self, samples: NDArray[Any], sample_rate: int | None = None) -> AsyncIterator[Event]:
        """Take the next samples, and return an asynchronous iterator over the events up to now.

        Arguments, errors, and what happens to events that are not iterated, as of
        `StreamSession.feed`. Calls must not overlap.
        """
        return self._iterate(self._session.feed(samples, sample_rate))

    def finish(self) -> AsyncIterator[Event]:
        """End the stream, and return an asynchronous iterator over the last events."""
        return self._iterate(self._session.finish())

    async def _iterate(self, events: Iterator[Event]) -> AsyncIterator[Event]:
        while True:
            async with self._lock:
                event = await asyncio.to_thread(next, events, None)
            if event is None:
                return
            yield event
