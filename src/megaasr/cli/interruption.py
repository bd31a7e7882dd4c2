"""Ctrl-C that cannot get lost."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class Interruption:
    """Remembers Ctrl-C while this is entered, besides raising KeyboardInterrupt at once.

    Python can only print, not pass on, what is raised in a callback of C code (libsndfile reads
    through some) or in a finaliser: there a Ctrl-C disappears, and the work goes on. A loop that
    asks `check` at every turn ends nevertheless.

    Does nothing outside the main thread, or where somebody else decides about the signal (a
    shell has what it starts in the background ignore it).
    """

    def __init__(self) -> None:
        self._asked = False
        self._watching = False

    def __enter__(self) -> Interruption:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            try:
                signal.signal(signal.SIGINT, self._interrupt)
            except ValueError:  # not the main thread
                return self
            self._watching = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._watching:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._watching = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed and nobody was told."""
        if self._asked:
            raise KeyboardInterrupt

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        signal.default_int_handler(number, frame)
