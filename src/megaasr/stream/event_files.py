"""Files that grow with the events of a session. What is final is on the disk before it is shown.

| suffix | content |
|---|---|
| `.jsonl` | every event as a line of JSON |
| `.srt`, `.vtt`, `.tsv`, `.txt` | the final segments, as `transcribe` writes them |

A file of text has a journal beside it, `NAME.events.jsonl`, with every event but partial texts. So
a killed process loses nothing that was final; at most the last line is incomplete.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from megaasr import strict_json
from megaasr.errors import RecordError, UsageError
from megaasr.records import Segment
from megaasr.records.subtitles import render_tsv, render_txt, render_vtt, srt_blocks
from megaasr.stream.events import EVENT_SCHEMA, Event, Final, Partial
from megaasr.stream.unbuffered import create, write_all

EVENT_SUFFIX = ".jsonl"
SUFFIXES = (EVENT_SUFFIX, ".srt", ".vtt", ".tsv", ".txt")
"""Suffixes of the files."""
_JOURNAL_SUFFIX = ".events.jsonl"


class EventFiles:
    """Writes the events of one session to files.

    Args:
        paths: the files, which must not exist; their suffixes decide what they hold.
        header: what the first line of event files states beside the schema, as JSON values.

    Raises:
        UsageError: a file exists, or its suffix is unknown.
        OSError: a file cannot be created.
    """

    def __init__(self, paths: Sequence[Path], header: dict[str, Any]) -> None:
        journals = _journals(paths)
        self._stack = ExitStack()
        self._files: list[_EventLog | _SegmentFile] = []
        try:
            for path in [*paths, *journals]:
                has_events = path.suffix.lower() == EVENT_SUFFIX
                file = _EventLog(path) if has_events else _SegmentFile(path)
                self._stack.push(file)
                self._files.append(file)
            for file in self._files:
                file.begin(header)
        except BaseException:
            self._stack.close()
            for file in self._files:  # these are new
                file.path.unlink()
            raise
        self._journals = set(journals)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def write(self, event: Event) -> None:
        """Append an event to every file that holds it.

        Raises:
            OSError: the disk is full, for example.
        """
        for file in self._files:
            if isinstance(file, _SegmentFile):
                if isinstance(event, Final):
                    file.append(event.segment)
            elif not (isinstance(event, Partial) and file.path in self._journals):
                file.append(event.to_dict(), durable=isinstance(event, Final))


def require_new(paths: Sequence[Path], recording: Path | None) -> None:
    """Check that a session can make its files, before anything is waited for.

    Args:
        paths: the event files.
        recording: where its audio is kept; None if it is not.

    Raises:
        UsageError: a file exists or is named twice, or its suffix is unknown.
        OSError: its folder is missing, or nothing can be written there.
    """
    resolved: set[Path] = set()
    for path in (*paths, *_journals(paths), *(() if recording is None else (recording,))):
        if os.path.lexists(path):
            raise _exists(path)
        if path.resolve() in resolved:
            raise UsageError(f"{path} is named twice; each file needs a name of its own")
        resolved.add(path.resolve())
        for code, is_wrong in (
            (errno.ENOENT, not path.parent.is_dir()),
            (errno.EACCES, not os.access(path.parent, os.W_OK)),
        ):
            if is_wrong:
                raise OSError(code, os.strerror(code), str(path))


def _journals(paths: Sequence[Path]) -> list[Path]:
    """Return the path of the journal, if files need one.

    Raises:
        UsageError: the suffix of a file is unknown.
    """
    for path in paths:
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(
                f"{path}: the suffix decides the format; choose one of {', '.join(SUFFIXES)}"
            )
    has_events = any(path.suffix.lower() == EVENT_SUFFIX for path in paths)
    return [] if has_events else [journal_path(path) for path in paths[:1]]


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} exists, perhaps from a session before; choose another name")


def journal_path(path: Path) -> Path:
    """Return the path of the journal beside a file of text."""
    return path.with_name(path.stem + _JOURNAL_SUFFIX)


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of an event file as JSON values; an incomplete last line is left out.

    Raises:
        RecordError: another line is damaged; the message names it.
        OSError: the file cannot be read.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except ValueError as error:
                if not line.endswith(b"\n"):  # the process was killed while it wrote
                    return
                raise RecordError(f"{path}, line {number}: no JSON ({error})") from error


class _AppendedFile:
    """A new file that is only appended to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = create(path)
        except FileExistsError as error:
            raise _exists(path) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def _append(self, text: str, *, durable: bool) -> None:
        try:
            write_all(self._file, text.encode("utf-8", errors="backslashreplace"))
            if durable:
                os.fsync(self._file.fileno())
        except OSError as error:  # which does not name the file
            raise OSError(error.errno, error.strerror, str(self.path)) from error


class _EventLog(_AppendedFile):
    """Events as lines of JSON."""

    def begin(self, header: dict[str, Any]) -> None:
        """Write the first line."""
        self.append({"type": "session", "schema": EVENT_SCHEMA, **header})

    def append(self, event: dict[str, Any], *, durable: bool = True) -> None:
        """Append a line; a durable one is on the disk afterwards."""
        self._append(strict_json.dumps(event, ensure_ascii=False) + "\n", durable=durable)


class _SegmentFile(_AppendedFile):
    """Final segments in one of the formats of transcripts."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._format = path.suffix.lower().removeprefix(".")
        self._cues = 0

    def begin(self, header: dict[str, Any]) -> None:
        """Write what the format begins with; none of them has a place for the header."""
        self._append(self._render([]), durable=True)

    def append(self, segment: Segment) -> None:
        """Append a segment; it is on the disk afterwards."""
        if not segment.text:
            return
        if self._format == "srt":
            blocks = srt_blocks([segment], first=self._cues + 1)
            gap = "\n" if self._cues else ""
            self._cues += len(blocks)
            self._append(gap + "\n".join(blocks), durable=True)
            return
        # The beginning, such as a head line, is there already.
        text = self._render([segment]).removeprefix(self._render([]))
        self._append(text, durable=True)

    def _render(self, segments: Sequence[Segment]) -> str:
        if self._format == "srt":
            return ""
        render = {"vtt": render_vtt, "tsv": render_tsv, "txt": render_txt}[self._format]
        return render(segments)
