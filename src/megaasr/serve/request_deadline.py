"""Ends connections whose request does not come; uvicorn itself waits as long as the peer likes.

Thousands of connections that send a byte now and then would hold all sockets of the process. A body
has its own limit (`megaasr.serve.uploads`), and a connection that waits for its next request that
of uvicorn.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_LINE_S = 20.0
"""Seconds in which the headers of a request must be complete."""


class DeadlineProtocol(H11Protocol):
    """HTTP/1.1 whose headers have a deadline."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._set_deadline()

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        super().data_received(data)
        if self._is_answering():
            self._clear_deadline()
        elif self._deadline is None:
            self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._clear_deadline()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _set_deadline(self) -> None:
        self._deadline = self.loop.call_later(REQUEST_LINE_S, self._end)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end(self) -> None:
        self._deadline = None
        protocol = self.transport.get_protocol()
        # Of a WebSocket, whose handshake uvicorn has passed on unless it could not read it.
        is_started = getattr(protocol, "handshake_initiated", False)
        if not (self._is_answering() if protocol is self else is_started):
            self.transport.close()
