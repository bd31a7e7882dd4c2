"""What `mega-asr transcribe` shows: the words on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from megaasr.records import Segment, Transcript
from megaasr.records.subtitles import clean, live_line

if TYPE_CHECKING:
    from rich.progress import Progress


STOPPED = "stopped by an error"
"""How a run ended that an error is shown of; without any work done, the error is enough."""
# What may steer a terminal or break a line, and JSON does not escape by itself.
_NOT_PRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029]")


class Lines(Enum):
    """What goes to stdout."""

    LIVE = "a line for each segment, as soon as it is known"
    TEXT = "the text of each recording, when it is complete"
    JSON = "a JSON document for each recording"
    NOTHING = "nothing: the words go to files"


class Screen:
    """The terminal, or the pipes in its place; to be used in a `with` statement.

    Args:
        lines: what goes to stdout.
        total: how many recordings there are.
        bar: show a progress bar if stderr is a terminal.
    """

    def __init__(self, lines: Lines, total: int, *, bar: bool) -> None:
        self._lines = lines
        self._total = total
        self._progress = _progress(total) if bar and sys.stderr.isatty() else None
        self._heading: str | None = None  # the recording whose words were printed last
        self._transcribed = self._skipped = self._failed = 0
        self._audio_s = 0.0
        self._began = time.monotonic()
        self._stack = ExitStack()

    def __enter__(self) -> Screen:
        self._stack.enter_context(_warnings_as_lines(self.warn))
        if self._progress is not None:
            self._stack.enter_context(self._progress)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def failed(self) -> int:
        """How many recordings failed so far."""
        return self._failed

    def segment(self, audio: str, segment: Segment) -> None:
        """Show words as they come."""
        self._advance(audio, files=0)
        if self._lines is Lines.LIVE and segment.text:
            self._head(audio)
            self._print(live_line(segment))

    def transcript(self, audio: str, transcript: Transcript) -> None:
        """Show that a recording is finished; say so if words may be missing or there are none."""
        self._transcribed += 1
        self._audio_s += transcript.duration_s
        self._advance(audio, files=1)
        if self._lines is Lines.JSON:
            self._print_json(transcript.to_dict())
        elif self._lines is Lines.TEXT:
            self._head(audio)
            self._print(transcript.to_txt().removesuffix("\n"))
        if transcript.reason is not None:
            self.note(f"{audio}: {transcript.reason}")
        doubtful = [
            one
            for one in transcript.segments
            if "unreliable" in one.flags
            # Told below, in its own words.
            and {check.flag for check in one.checks} != {"token_budget_hit"}
        ]
        if doubtful:
            why = ", ".join(dict.fromkeys(check.flag for one in doubtful for check in one.checks))
            count = f"{len(doubtful)} of {len(transcript.segments)} segments"
            dropped = " and left out" if "dropped" in transcript.flags else ""
            self.warn(f"{audio}: {count} unreliable{dropped} ({why})")
        cut_short = sum("token_budget_hit" in one.flags for one in transcript.segments)
        if cut_short:
            count = f"{cut_short} of {len(transcript.segments)} segments"
            self.warn(f"{audio}: words may be missing, the token budget ended {count}")

    def skip(self, audio: str) -> None:
        """Show that a recording was transcribed by an earlier run."""
        self._skipped += 1
        self._advance(audio, files=1)
        if self._lines is Lines.JSON:
            self._print_json({"audio": audio, "skipped": True})

    def fail(self, audio: str, reason: str) -> None:
        """Name a recording that failed, and why."""
        self._failed += 1
        self._advance(audio, files=1)
        if self._lines is Lines.JSON:
            self._print_json({"audio": audio, "error": reason})
        self._say("error", f"{audio}: {reason}", "red")

    def note(self, message: str) -> None:
        """Show a remark in one line."""
        self._say("note", message, "cyan")

    def warn(self, message: str) -> None:
        """Show a warning in one line."""
        self._say("warning", message, "yellow")

    def summarize(self, ended: str, *, loading_s: float) -> None:
        """Say what was done, in one line; to be called when the bar is gone.

        Args:
            ended: how the run ended before its time, or empty.
            loading_s: seconds that went into loading the model; not counted as transcribing.
        """
        if ended == STOPPED and not self._transcribed + self._skipped + self._failed:
            return  # the error says it all
        seconds = max(time.monotonic() - self._began - loading_s, 1e-3)
        counts = [f"{self._transcribed} transcribed"]
        counts += [f"{self._skipped} already done"] if self._skipped else []
        counts += [f"{self._failed} failed"] if self._failed else []
        line = f"{self._total} file{'' if self._total == 1 else 's'}: {', '.join(counts)}; "
        line += f"{self._audio_s:.1f} s of audio in {seconds:.1f} s"
        line += f" (RTFx {self._audio_s / seconds:.1f})" if self._transcribed else ""
        line += f", model loaded in {loading_s:.1f} s" if loading_s >= 0.05 else ""
        typer.echo(f"{ended}, {line}" if ended else line, err=True)

    def _head(self, audio: str) -> None:
        """Print whose words follow, where there are several recordings."""
        if self._total > 1 and audio != self._heading:
            gap = "" if self._heading is None else "\n"
            self._print(f"{gap}==> {clean(audio)} <==")
        self._heading = audio

    def _print_json(self, document: dict[str, Any]) -> None:
        """Print a document on one line that every program and terminal reads as one."""
        # Where stdout has no room for all characters, Python would write escapes unknown to JSON.
        unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        line = json.dumps(document, ensure_ascii=not unicode)
        self._print(_NOT_PRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", line))

    def _print(self, line: str) -> None:
        """Print to stdout, at once."""
        if self._progress is not None and sys.stdout.isatty():
            self._above_bar(line)  # the same screen: a plain print would tear the bar
        elif line:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

    def _say(self, kind: str, message: str, colour: str) -> None:
        """Print to stderr."""
        line = f"mega-asr: {kind}: {clean(message)}"
        if self._progress is not None:
            self._above_bar(line, colour)
        else:
            colours = False if "NO_COLOR" in os.environ else None
            typer.secho(line, err=True, fg=colour, color=colours)

    def _above_bar(self, line: str, colour: str = "") -> None:
        from rich.text import Text

        if line and self._progress is not None:
            self._progress.console.print(Text(line, style=colour), soft_wrap=True)

    def _advance(self, audio: str, *, files: int) -> None:
        if self._progress is not None:
            task = self._progress.task_ids[0]
            self._progress.update(task, advance=files, description=clean(audio)[-40:])


def _progress(total: int) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    progress = Progress(
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("files"),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # stdout may be a pipe, and then what is printed belongs there
        redirect_stderr=False,
    )
    progress.add_task("", total=total)
    return progress


@contextmanager
def _warnings_as_lines(show: Callable[[str], None]) -> Iterator[None]:
    """Show Python's warnings in one line each, without the code that they came from."""

    def show_line(message: Warning | str, *details: Any, **more: Any) -> None:
        show(str(message))

    with warnings.catch_warnings():
        warnings.showwarning = show_line
        yield
