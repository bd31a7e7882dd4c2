"""Errors as OpenAI's clients expect them: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import errno
import logging
import sqlite3
from collections.abc import Mapping
from concurrent.futures import CancelledError
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import (
    RequestValidationError,
    ValidationException,
    WebSocketRequestValidationError,
)
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from megaasr.errors import (
    AudioError,
    DecoderMissingError,
    MegaASRError,
    ModelBusyError,
    ModelError,
    UsageError,
)

_LOGGER = logging.getLogger(__name__)
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_SPACE_SQLITE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)

_KINDS: tuple[tuple[type[Exception], int, str | None, str, float | None], ...] = (
    (ModelBusyError, 429, None, "server_busy", 2.0),
    (DecoderMissingError, 415, "file", "unsupported_format", None),
    (AudioError, 400, "file", "invalid_audio", None),
    (UsageError, 400, None, "invalid_value", None),
    (CancelledError, 503, None, "shutting_down", 5.0),
)
"""Status, field, code, and seconds until a retry of foreseen errors; the first kind that fits."""


class RequestError(MegaASRError):
    """A request cannot be answered as its sender wished.

    Attributes:
        status: HTTP status, 400 to 599.
        message: what is wrong, and the mend.
        param: name of the field that is wrong; None if no single one is.
        code: short name of the error for programs; None for the type's own.
        retry_after_s: seconds after which the sender may try again; None forbids retries of a 5xx.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s

    @property
    def type(self) -> str:
        """OpenAI's name for the kind of error."""
        return _TYPES.get(
            self.status, "server_error" if self.status >= 500 else "invalid_request_error"
        )

    def body(self) -> dict[str, Any]:
        """Return the JSON body."""
        error = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}

    def headers(self) -> dict[str, str]:
        """Return the headers that tell clients whether to try again."""
        if self.retry_after_s is not None:
            return {"retry-after": f"{self.retry_after_s:.0f}"}
        # Clients retry these by default; the same request would fail in the same way.
        return (
            {"x-should-retry": "false"} if self.status in (408, 409) or self.status >= 500 else {}
        )


def as_request_error(
    error: BaseException, *, names: Mapping[str, str] | None = None
) -> RequestError:
    """Return what an error of any kind means to the sender of a request.

    Args:
        error: the error; one that is not foreseen is logged.
        names: paths on this machine, each with what the sender calls the file.
    """
    result = _as_request_error(error)
    for path, name in (names or {}).items():
        result.message = result.message.replace(path, name)
    return result


def _as_request_error(error: BaseException) -> RequestError:
    if isinstance(error, RequestError):
        return error
    for kind, status, param, code, retry_after_s in _KINDS:
        if isinstance(error, kind):
            return RequestError(
                status, str(error), param=param, code=code, retry_after_s=retry_after_s
            )
    if _is_full_disk(error):
        _LOGGER.error("no space: %s", error)
        message = "the server has no space left on its disk; try again later"
        return RequestError(507, message, code="no_space", retry_after_s=60)
    _LOGGER.error("unforeseen error", exc_info=error)
    if isinstance(error, ModelError):
        return RequestError(500, f"the model failed: {error}", code="model_error")
    message = "an error that was not foreseen; the server's log has it under this x-request-id"
    return RequestError(500, message, code="internal_error")


def _is_full_disk(error: BaseException) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        return getattr(error, "sqlite_errorcode", None) in _NO_SPACE_SQLITE
    return isinstance(error, OSError) and error.errno in _NO_SPACE


def error_response(error: BaseException) -> JSONResponse:
    """Return the response for an error of any kind."""
    request_error = as_request_error(error)
    return JSONResponse(
        request_error.body(), status_code=request_error.status, headers=request_error.headers()
    )


def install_error_responses(app: FastAPI) -> None:
    """Make every foreseen error of an application one of OpenAI's shape; the gate does others."""

    async def on_error(request: Request, error: Exception) -> JSONResponse:
        if request.scope["type"] == "websocket":
            raise error  # the gate can answer before the connection is accepted
        return error_response(error)

    async def on_http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        response = error_response(_from_http(request, error))
        response.headers.update(error.headers or {})
        return response

    async def on_invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ValidationException)
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:]) or None
        message = f"{name or 'the request'}: {first['msg']}"
        return await on_error(request, RequestError(422, message, param=name, code="invalid_value"))

    app.add_exception_handler(Exception, on_error)
    app.add_exception_handler(MegaASRError, on_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(WebSocketRequestValidationError, on_invalid)


def _from_http(request: Request, error: HTTPException) -> RequestError:
    """Return an error of the framework in our words."""
    if error.status_code == 404:
        message = f"no such address: {request.method} {request.url.path}; /docs lists them"
        return RequestError(404, message, code="unknown_url")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        message = f"{request.method} is not possible on {request.url.path}; use {allowed}"
        return RequestError(405, message, code="method_not_allowed")
    return RequestError(error.status_code, str(error.detail), code="invalid_request")
