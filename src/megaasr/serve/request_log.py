"""The server's log: JSON lines on standard error, without texts unless they are asked for."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from megaasr import strict_json

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Identifier of the request that is being handled."""

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Writes a record, with the fields of its `extra`, as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request_id := REQUEST_ID.get()) is not None:
            line["request_id"] = request_id
        line |= {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
        line.pop("color_message", None)  # of uvicorn
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return strict_json.dumps(line, ensure_ascii=False, default=str)


def configure_logging(level: str) -> None:
    """Send the records of this package and of uvicorn to standard error.

    Args:
        level: least severity: `debug`, `info`, `warning` or `error`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name in ("megaasr", "uvicorn"):
        logger = logging.getLogger(name)
        silent = [h for h in logger.handlers if isinstance(h, logging.NullHandler)]
        logger.handlers = [*silent, handler]
        logger.setLevel(level.upper())
        logger.propagate = False
    logging.getLogger("uvicorn.error").addFilter(_is_true)


def _is_true(record: logging.LogRecord) -> bool:
    """Return whether a record of uvicorn is true.

    Its WebSockets take an HTTP response, by which the gate refuses them, for no answer.
    """
    return not record.getMessage().startswith("ASGI callable returned without completing")
