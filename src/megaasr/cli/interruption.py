"""Ctrl-C that is never lost."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self


class _Handler(ABC):
    """A context manager that handles Ctrl-C.

    Does nothing outside the main thread, or if the signal has another handler (shells make
    processes that they start in the background ignore it).
    """

    def __init__(self) -> None:
        self._installed = False

    def __enter__(self) -> Self:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            try:
                signal.signal(signal.SIGINT, self._handle)
            except ValueError:  # not the main thread
                return self
            self._installed = True
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._installed = False

    @abstractmethod
    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Handle Ctrl-C."""


class Interruption(_Handler):
    """A context manager that remembers Ctrl-C, in addition to raising KeyboardInterrupt at once.

    Python prints, but does not propagate, an exception raised in a callback of C code (libsndfile
    reads through callbacks) or in a finaliser. There a Ctrl-C is lost, and the work goes on. A loop
    that calls `check` in every iteration ends all the same. In libsndfile's callbacks nothing is
    raised, since its only effect would be a traceback on the screen.
    """

    def __init__(self) -> None:
        super().__init__()
        self._requested = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self._requested:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._requested = True
        if not _in_c_callback(frame):
            signal.default_int_handler(number, frame)


class FirstInterruption(_Handler):
    """A context manager in which the first Ctrl-C asks for an end, and the next one interrupts.

    Args:
        on_request: called at the first Ctrl-C; it may be called while any code of the main thread
            runs, and must not wait.
    """

    def __init__(self, on_request: Callable[[], None]) -> None:
        super().__init__()
        self._on_request = on_request

    def _handle(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._on_request()


def _in_c_callback(frame: FrameType | None) -> bool:
    """Return whether libsndfile called the code that is running, through a callback."""
    while frame is not None:
        code = frame.f_code
        if code.co_name.startswith("vio_") and code.co_filename.endswith("soundfile.py"):
            return True
        frame = frame.f_back
    return False
