"""What `mega-asr stream` shows: final lines, and on a terminal the text that is being spoken."""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import TYPE_CHECKING

import typer

from megaasr import strict_json
from megaasr.errors import MegaASRError
from megaasr.records.subtitles import live_lines, single_line
from megaasr.text.graphemes import columns, split_clusters

if TYPE_CHECKING:
    from megaasr.stream.events import Event

_ERASE_LINE = "\r\x1b[K"
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
# Characters that control a terminal or break a line, and that JSON does not escape.
_NOT_PRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029]")


class LiveDisplay:
    """Prints the events of a session to stdout, and messages to stderr.

    Args:
        json_lines: print every event as a line of JSON, and nothing else.
        is_only_output: whether nothing is kept but what is printed.
    """

    def __init__(self, *, json_lines: bool, is_only_output: bool) -> None:
        self._json_lines = json_lines
        self._is_only_output = is_only_output
        self._is_unread = False
        self._is_live = not json_lines and sys.stdout.isatty()
        self._is_open = False  # whether the last line is text that may change
        self.finals = 0

    def show(self, event: Event) -> None:
        """Show an event; nothing any more if the reader of a pipe is gone.

        Raises:
            MegaASRError: it is gone, and nothing else is kept.
        """
        from megaasr.stream.events import Final

        if isinstance(event, Final) and event.segment.text:
            self.finals += 1
        if self._is_unread:
            return
        try:
            self._show(event)
        except BrokenPipeError as error:
            gone = "nobody reads standard output any more"
            if self._is_only_output:
                raise MegaASRError(f"{gone}; -o FILE keeps what comes after that") from error
            self._is_unread = True
            self.warn(f"{gone}; the session goes on for its files")

    def _show(self, event: Event) -> None:
        from megaasr.stream.events import Final, Partial

        if self._json_lines:
            unicode = (sys.stdout.encoding or "").lower().startswith("utf")
            line = strict_json.dumps(event.to_dict(), ensure_ascii=not unicode)
            self._print(_NOT_PRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", line))
        elif isinstance(event, Final):
            self._close()
            if event.segment.text:
                self._print(live_lines(event.segment))
        elif isinstance(event, Partial) and self._is_live:
            sys.stdout.write(_ERASE_LINE + fitting_line(event.stable, event.volatile, _width()))
            sys.stdout.flush()
            self._is_open = True

    def note(self, message: str) -> None:
        """Show a note in one line."""
        self._message("note", message, "cyan")

    def warn(self, message: str) -> None:
        """Show a warning in one line."""
        self._message("warning", message, "yellow")

    def _message(self, kind: str, message: str, foreground: str) -> None:
        self._close()
        colour = None if "NO_COLOR" not in os.environ else False
        line = f"mega-asr: {kind}: {single_line(message)}"
        typer.secho(line, err=True, fg=foreground, color=colour)

    def finish(self, audio_s: float) -> None:
        """Show a summary in one line."""
        self._close()
        typer.echo(f"{audio_s:.1f} s of audio, {self.finals} utterances with words", err=True)

    def _print(self, line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def _close(self) -> None:
        """Erase the text that may change."""
        if self._is_open and not self._is_unread:
            sys.stdout.write(_ERASE_LINE)
            sys.stdout.flush()
            self._is_open = False


def fitting_line(stable: str, volatile: str, width: int) -> str:
    """Return stable text and dim volatile text on one line of a terminal, the end if it is long.

    Args:
        stable: text that does not change any more.
        volatile: text that may change.
        width: columns of the terminal.
    """
    first, second = single_line(stable), single_line(volatile)
    gap = " " if volatile[:1].isspace() and first else ""
    clusters = split_clusters(f"{first}{gap}{second}")
    limit = len(split_clusters(f"{first}{gap}"))
    while clusters and columns("".join(clusters)) >= width:
        clusters.pop(0)
        limit = max(0, limit - 1)
    shown, rest = "".join(clusters[:limit]), "".join(clusters[limit:])
    dim, plain = ("", "") if "NO_COLOR" in os.environ else (_DIM, _PLAIN)
    return f"{shown}{dim}{rest}{plain}" if rest else shown


def _width() -> int:
    return shutil.get_terminal_size().columns
