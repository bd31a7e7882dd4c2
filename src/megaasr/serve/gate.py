"""What every request passes first: an identifier, access, limit of size, log and metrics."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from concurrent import futures
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from megaasr.serve.access import AccessRules
from megaasr.serve.error_responses import RequestError, as_request_error, error_response
from megaasr.serve.request_log import REQUEST_ID

OPEN_PATHS = ("/health", "/health/live", "/health/ready")
"""Addresses that need no key: the tools that watch a server rarely have one."""

_LOGGER = logging.getLogger(__name__)


class Gate:
    """Wraps an application, so that nothing reaches it unchecked and every answer has an id.

    Args:
        app: the application.
        rules: who may use it.
        max_bytes: largest body of a request.
        on_answer: called with the path's template, the method, the status and the seconds of every
            request that was answered.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        rules: AccessRules,
        max_bytes: int,
        on_answer: Callable[[str, str, int, float], None],
    ) -> None:
        self._app = app
        self._rules = rules
        self._max_bytes = max_bytes
        self._on_answer = on_answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(12)}"
        token = REQUEST_ID.set(request_id)
        try:
            await _Exchange(self, scope, receive, send, request_id).run()
        finally:
            REQUEST_ID.reset(token)

    def admit(self, scope: Scope, headers: Headers) -> None:
        """Check a request before its body is read, and note who sent it.

        Raises:
            RequestError: 401, 403, 413 or 503.
        """
        self._rules.check_origin(headers)
        address = (scope.get("client") or ("unknown", 0))[0]
        # A browser asks without a key whether it may send one.
        preflight = scope.get("method") == "OPTIONS" and "access-control-request-method" in headers
        if scope["path"] in OPEN_PATHS or preflight:
            scope["state"]["client"] = address
        else:
            scope["state"]["client"] = self._rules.client_name(headers, address)
        stated = headers.get("content-length", "")
        if stated.isdecimal() and int(stated) > self._max_bytes:
            raise self.too_large()

    def too_large(self) -> RequestError:
        """Return the error of a body that exceeds the limit."""
        return RequestError(
            413,
            f"the upload is larger than {self._max_bytes / 1e6:g} MB; send a compressed format "
            "such as FLAC or Opus, or ask the operator for a larger max_upload_mb",
            param="file",
            code="file_too_large",
        )

    def while_admitted(self, scope: Scope, receive: Receive, send: Send) -> Receive:
        """Return a `receive` of a WebSocket that closes it when its key is revoked."""
        headers = Headers(scope=scope)

        async def checked() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive" and self._rules.is_revoked(
                headers, scope["state"]["client"]
            ):
                await send({"type": "websocket.close", "code": 1008, "reason": "key revoked"})
                return {"type": "websocket.disconnect", "code": 1008}
            return message

        return checked

    async def call(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application."""
        await self._app(scope, receive, send)

    def limited(self, receive: Receive) -> Receive:
        """Return a `receive` that raises when the body exceeds the limit."""
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b"")) if message["type"] == "http.request" else 0
            if received > self._max_bytes:
                raise self.too_large()
            return message

        return counted

    def report(self, scope: Scope, status: int, seconds: float) -> None:
        """Log a request that was answered, and count it."""
        route = scope.get("route")
        path = getattr(route, "path", None) or "unknown"
        method = scope.get("method", "WEBSOCKET")
        self._on_answer(path, method, status, seconds)
        _LOGGER.info(
            "request",
            extra={
                "method": method,
                "path": scope["path"],
                "status": status,
                "duration_s": round(seconds, 4),
                "client": scope["state"].get("client"),
                **scope["state"].get("log", {}),
            },
        )


class _Exchange:
    """One request and its answer."""

    def __init__(
        self, gate: Gate, scope: Scope, receive: Receive, send: Send, request_id: str
    ) -> None:
        self._gate = gate
        self._scope = scope
        self._receive = receive
        self._send = send
        self._request_id = request_id
        self._status: int | None = None  # of the answer; None as long as it has not begun
        scope.setdefault("state", {})
        scope["state"] |= {"request_id": request_id, "log": {}}

    async def run(self) -> None:
        start = time.monotonic()
        try:
            self._gate.admit(self._scope, Headers(scope=self._scope))
            receive = self._receive
            if self._scope["type"] == "http":
                receive = self._gate.limited(receive)
            else:
                receive = self._gate.while_admitted(self._scope, receive, self._send)
            await self._gate.call(self._scope, receive, self._answer)
        except ClientDisconnect:
            self._status = None  # the framework has "answered" nobody with a 500
        except asyncio.CancelledError:  # the server stops, and will not wait any longer
            await self._refuse(futures.CancelledError())
            raise
        except Exception as error:
            await self._refuse(error)
        finally:
            # 499: the client left before the answer began (a custom of nginx).
            self._gate.report(self._scope, self._status or 499, time.monotonic() - start)

    async def _answer(self, message: Message) -> None:
        if message["type"] == "websocket.close" and self._status is None:
            # The framework refuses WebSockets with a 403 without a body.
            raise RequestError(
                404,
                f"there is no WebSocket at {self._scope['path']}; /v1/realtime is one",
                code="unknown_url",
            )
        if message["type"] in (
            "http.response.start",
            "websocket.accept",
            "websocket.http.response.start",
        ):
            self._status = message.get("status", 101)
            MutableHeaders(scope=message)["x-request-id"] = self._request_id
        await self._send(message)

    async def _refuse(self, error: Exception) -> None:
        """Answer with an error; if the answer has begun, all that can be done is to end it."""
        if self._status is not None:
            if self._status < 500:
                as_request_error(error)  # logs it, as was done for what is a 500 already
            return
        response = error_response(error)
        self._status = response.status_code
        response.headers["x-request-id"] = self._request_id
        if self._scope["type"] == "http":
            response.headers["connection"] = "close"  # the rest of the body is not read
        elif "websocket.http.response" not in self._scope.get("extensions", {}):
            await self._send({"type": "websocket.close", "code": 1008})
            return
        with suppress(OSError):  # the client is gone
            await response(self._scope, self._receive, self._send)
