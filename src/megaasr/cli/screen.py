"""Output of `mega-asr transcribe`: transcripts on stdout, everything else on stderr."""

from __future__ import annotations

import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from megaasr import strict_json
from megaasr.records import Segment, Transcript
from megaasr.records.marking import Marking, mark_segments
from megaasr.records.subtitles import live_lines, single_line

if TYPE_CHECKING:
    from rich.progress import Progress


STOPPED = "stopped by an error"
"""Status of a run that an error ended."""
DOUBTFUL_CONFIDENCE = 0.5
"""Calibrated confidence below which a text is marked: more of its words are wrong than right."""
# Characters that control a terminal or break a line, and that JSON does not escape.
_NOT_PRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029]")


class StdoutContent(Enum):
    """What is printed to stdout."""

    SEGMENTS = "a line for each segment, as soon as it is final"
    TEXT = "the text of each recording, once it is complete"
    JSON = "a JSON document for each recording"
    NOTHING = "nothing: the transcripts are written to files"


class Screen:
    """Prints transcripts, messages and progress of a run; to be used in a `with` statement.

    Args:
        content: what is printed to stdout.
        total: number of recordings.
        bar: show a progress bar if stderr is a terminal.
        durations: returns the stated length in seconds of every recording, by path, or None if
            some are unknown; called only if the bar is shown. The bar then counts seconds of
            audio, otherwise files.
        by_channel: recordings have a transcript for each channel, so that texts have headings.
        marking: what is printed in place of unintelligible words, except in JSON.
    """

    def __init__(
        self,
        content: StdoutContent,
        total: int,
        *,
        bar: bool,
        durations: Callable[[], dict[str, float] | None] = lambda: None,
        by_channel: bool = False,
        marking: Marking = "keep",
    ) -> None:
        self._content = content
        self._marking: Marking = marking
        self._total = total
        self._progress: Progress | None = None
        self._durations: dict[str, float] | None = None
        self._finished = 0
        self._finished_s = 0.0
        if bar and sys.stderr.isatty():
            self._durations = durations()
            self._progress = _progress(total, self._durations)
        self._by_channel = by_channel
        self._heading: str | None = None  # the recording whose text was printed last
        self._transcribed = self._skipped = self._failed = 0
        self._audio_s = 0.0
        self._start = time.monotonic()
        self._stack = ExitStack()

    def __enter__(self) -> Screen:
        self._stack.enter_context(_one_line_warnings(self.warn))
        if self._progress is not None:
            self._stack.enter_context(self._progress)
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def failed(self) -> int:
        """Number of recordings that failed so far."""
        return self._failed

    def segment(self, audio: str, segment: Segment) -> None:
        """Show a segment that has just become final."""
        self._advance(audio, segment.end if segment.chunk_end is None else segment.chunk_end)
        (segment,) = mark_segments([segment], self._marking)
        if self._content is StdoutContent.SEGMENTS and segment.text:
            self._print_heading(audio)
            self._print(f"{live_lines(segment)}{_doubt(segment)}")

    def transcripts(self, audio: str, transcripts: Sequence[Transcript]) -> None:
        """Show a finished recording, with a note if it has no text, and a warning if segments are
        unreliable or words may be missing.

        Args:
            audio: path of the recording.
            transcripts: its transcript, or one for each of its channels.
        """
        self._transcribed += 1
        self._audio_s += transcripts[0].duration_s
        self._finish(audio)
        for transcript in transcripts:
            name = audio if transcript.channel is None else f"{audio} ({transcript.channel})"
            self._show_transcript(name, transcript)

    def _show_transcript(self, audio: str, transcript: Transcript) -> None:
        """Show a transcript under a name."""
        if self._content is StdoutContent.JSON:
            self._print_json(transcript.to_dict())
        elif self._content is StdoutContent.TEXT:
            self._print_heading(audio)
            self._print(transcript.marked(self._marking).to_txt().removesuffix("\n"))
        if transcript.reason is not None:
            self.note(f"{audio}: {transcript.reason}")
        unreliable = [
            segment
            for segment in transcript.segments
            if "unreliable" in segment.flags
            # The token budget has a warning of its own, below.
            and {check.flag for check in segment.checks} != {"token_budget_hit"}
        ]
        if unreliable:
            flags = dict.fromkeys(check.flag for segment in unreliable for check in segment.checks)
            count = f"{len(unreliable)} of {len(transcript.segments)} segments"
            dropped = " and left out" if "dropped" in transcript.flags else ""
            self.warn(f"{audio}: {count} unreliable{dropped} ({', '.join(flags)})")
        doubtful = [s.confidence for s in transcript.segments if _is_doubtful(s)]
        if doubtful:
            count = f"{len(doubtful)} of {len(transcript.segments)} segments"
            lowest = min(value for value in doubtful if value is not None)
            self.warn(
                f"{audio}: {count} doubtful (confidence below {DOUBTFUL_CONFIDENCE:g}, the lowest "
                f"{lowest:.2f}): more words may be wrong than right"
            )
        truncated = sum("token_budget_hit" in segment.flags for segment in transcript.segments)
        if truncated:
            count = f"{truncated} of {len(transcript.segments)} segments"
            self.warn(f"{audio}: words may be missing, the token budget ended {count}")

    def skip(self, audio: str) -> None:
        """Show a recording that an earlier run transcribed."""
        self._skipped += 1
        self._finish(audio)
        if self._content is StdoutContent.JSON:
            self._print_json({"audio": audio, "skipped": True})

    def fail(self, audio: str, reason: str) -> None:
        """Show the reason why a recording failed."""
        self._failed += 1
        self._finish(audio)
        if self._content is StdoutContent.JSON:
            self._print_json({"audio": audio, "error": reason})
        self._print_message("error", f"{audio}: {reason}", "red")

    def note(self, message: str) -> None:
        """Show a note in one line."""
        self._print_message("note", message, "cyan")

    def warn(self, message: str) -> None:
        """Show a warning in one line."""
        self._print_message("warning", message, "yellow")

    def summarize(self, status: str, *, loading_s: float) -> None:
        """Show in one line what the run did; to be called after the `with` block.

        Args:
            status: why the run ended early, such as `STOPPED`; empty if it did not.
            loading_s: seconds spent on loading the model, which do not count as transcription.
        """
        if status == STOPPED and not self._transcribed + self._skipped + self._failed:
            return  # the message of the error is enough
        seconds = max(time.monotonic() - self._start - loading_s, 1e-3)
        counts = [f"{self._transcribed} transcribed"]
        counts += [f"{self._skipped} already done"] if self._skipped else []
        counts += [f"{self._failed} failed"] if self._failed else []
        line = f"{self._total} file{'' if self._total == 1 else 's'}: {', '.join(counts)}; "
        line += f"{self._audio_s:.1f} s of audio in {seconds:.1f} s"
        line += f" (RTFx {self._audio_s / seconds:.1f})" if self._transcribed else ""
        line += f", model loaded in {loading_s:.1f} s" if loading_s >= 0.05 else ""
        typer.echo(f"{status}, {line}" if status else line, err=True)

    def _print_heading(self, audio: str) -> None:
        """Print the name of the recording or channel whose text follows, if there are several."""
        if (self._total > 1 or self._by_channel) and audio != self._heading:
            gap = "" if self._heading is None else "\n"
            self._print(f"{gap}==> {single_line(audio)} <==")
        self._heading = audio

    def _print_json(self, document: dict[str, Any]) -> None:
        """Print a document on one line, with escapes for all characters that could break it."""
        # For characters missing in stdout's encoding, Python would write escapes unknown to JSON.
        unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        line = strict_json.dumps(document, ensure_ascii=not unicode)
        self._print(_NOT_PRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", line))

    def _print(self, line: str) -> None:
        """Print a line to stdout, and flush."""
        if self._progress is not None and sys.stdout.isatty():
            self._print_above_bar(line)  # on the same terminal a plain print would break the bar
        elif line:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

    def _print_message(self, label: str, message: str, colour: str) -> None:
        """Print a message to stderr."""
        line = f"mega-asr: {label}: {single_line(message)}"
        if self._progress is not None:
            self._print_above_bar(line, colour)
        else:
            colours = False if "NO_COLOR" in os.environ else None
            typer.secho(line, err=True, fg=colour, color=colours)

    def _print_above_bar(self, line: str, colour: str = "") -> None:
        from rich.text import Text

        if line and self._progress is not None:
            self._progress.console.print(Text(line, style=colour), soft_wrap=True)

    def _finish(self, audio: str) -> None:
        """Advance the bar past a recording."""
        self._finished += 1
        if self._durations is not None:
            self._finished_s += self._durations.get(audio, 0.0)
        self._advance(audio, 0.0)

    def _advance(self, audio: str, position_s: float) -> None:
        """Set the bar to a position in the recording that is being transcribed."""
        if self._progress is None:
            return
        task = self._progress.task_ids[0]
        done: float = self._finished
        if self._durations is not None:
            done = self._finished_s + position_s
        files = f"{self._finished}/{self._total} files  {single_line(audio)[-40:]}"
        self._progress.update(task, completed=done, description=files)


def _doubt(segment: Segment) -> str:
    """Return the mark of a text that may be wrong, with the reasons; empty if there are none."""
    reasons = [check.flag.replace("_", " ") for check in segment.checks]
    if segment.confidence is not None:
        reasons.append(f"confidence {segment.confidence:.2f}")
    if "unreliable" in segment.flags:
        return f"  [unreliable: {', '.join(reasons)}]"
    return f"  [doubtful: {reasons[-1]}]" if _is_doubtful(segment) else ""


def _is_doubtful(segment: Segment) -> bool:
    """Return whether more words of a text are expected to be wrong than right, although it passed
    the checks."""
    if not segment.text or segment.confidence is None or "unreliable" in segment.flags:
        return False
    return segment.confidence < DOUBTFUL_CONFIDENCE


def _progress(total: int, durations: dict[str, float] | None) -> Progress:
    """Return a bar over seconds of audio, or over files if their lengths are unknown."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    progress = Progress(
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # stdout may be a pipe, which must not be redirected to the bar
        redirect_stderr=False,
    )
    progress.add_task(f"0/{total} files", total=sum(durations.values()) if durations else total)
    return progress


@contextmanager
def _one_line_warnings(show: Callable[[str], None]) -> Iterator[None]:
    """Pass the messages of Python's warnings to `show`, without the line of code that warned."""

    def show_message(message: Warning | str, *args: Any, **kwargs: Any) -> None:
        show(str(message))

    with warnings.catch_warnings():
        warnings.showwarning = show_message
        yield
