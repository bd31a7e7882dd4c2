"""Tables of clips in other people's formats: JSONL, CSV and TSV with the usual field names.

What a row says is read in full, or the row is refused with its line and what to do about it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from megaasr.errors import RecordError
from megaasr.records.fields import OFFSET_FIELD, clip_fields
from megaasr.records.jsonl import parse_objects
from megaasr.records.lines import read_lines
from megaasr.records.utterances import Utterance

_TABLES = {".csv": ",;\t", ".tsv": "\t"}
"""By suffix, the delimiters that a table may have; the first that its header has counts."""


def read_utterances(path: Path) -> Iterator[Utterance]:
    """Yield the utterances of a manifest, of a table of `audio,text`, or of a NeMo manifest.

    An utterance without id is called by its audio path. All columns are kept; `offset` and
    `duration` of a segment become part of the audio's name (`audio.segments`).

    Raises:
        RecordError: the file cannot be read, or a row has no audio or no text; the message names
            the file and the line.
        OSError: the file does not exist.
    """
    for number, row in read_rows(path):
        try:
            clip = clip_fields(row)
        except RecordError as error:
            raise RecordError(f"{path}, line {number}: {error}") from error
        standard = {"id", "audio", "text", "language", OFFSET_FIELD}
        extra = {name: value for name, value in row.items() if name not in standard}
        if clip.duration_s is not None and not isinstance(row.get("duration_s"), int | float):
            extra["duration_s"] = clip.duration_s
        yield Utterance(clip.id, clip.audio, clip.text, clip.language, extra)


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and row of each line of a CSV, TSV or JSONL file, told by its suffix.

    In a CSV file, quotation marks enclose cells. In a TSV file they are part of the text, as in
    those of Common Voice, unless the header's cells are in quotation marks, too.

    Raises:
        RecordError: the file cannot be read, or a row does not fit its header; the message names
            the file and the line.
        OSError: the table does not exist.
    """
    delimiters = _TABLES.get(path.suffix.lower())
    if delimiters is None:
        yield from read_objects(path)
        return
    try:
        yield from _table_rows(path, delimiters)
    except IsADirectoryError as error:
        raise RecordError(f"{path}: {error.strerror}") from error


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and object of each line of a JSONL file.

    Raises:
        RecordError: the file cannot be read, or a line is not a JSON object; the message names the
            file and the line.
    """
    try:
        yield from parse_objects(path)
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror or error}") from error


def _table_rows(path: Path, delimiters: str) -> Iterator[tuple[int, dict[str, str]]]:
    lines = _NumberedLines(path)
    header_line = next((line for line in lines if line.strip()), "")
    if not header_line:
        return
    delimiter = next((mark for mark in delimiters if mark in header_line), delimiters[0])
    cells = header_line.rstrip("\n").split(delimiter)
    quoted = delimiter != "\t" or path.suffix.lower() == ".csv"
    quoted = quoted or all(len(c) > 1 and c[0] == c[-1] == '"' for c in cells)
    header = next(_parse(lines, iter([header_line]), delimiter), []) if quoted else cells
    header = _checked_header(lines, header)
    rows = _parse(lines, lines, delimiter) if quoted else _split(lines, delimiter)
    for row in rows:
        if len(row) < 2 and not "".join(row).strip():
            continue
        if not any(row):  # spreadsheets write delimiters for rows that are empty
            continue
        yield lines.row_start, _record(lines, header, row)


class _NumberedLines:
    """The lines of a file, with the number of the last line and of the first line of its row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        self.row_start = 0
        self._lines = read_lines(path)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        return line

    def error(self, problem: str, first: int | None = None) -> RecordError:
        """Return the error that names the file and the line, by default that of the row."""
        return RecordError(f"{self.path}, line {first or self.row_start}: {problem}")


def _split(lines: _NumberedLines, delimiter: str) -> Iterator[list[str]]:
    """Yield the cells of each line, in which quotation marks have no meaning."""
    for line in lines:
        lines.row_start = lines.number
        yield line.rstrip("\n").split(delimiter)


def _parse(lines: _NumberedLines, source: Iterator[str], delimiter: str) -> Iterator[list[str]]:
    """Yield the cells of each row, which quotation marks may enclose."""
    rows = csv.reader(source, delimiter=delimiter, strict=True)
    while True:
        lines.row_start = lines.number + (source is lines)
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise lines.error(
                f"{error}; a cell in quotation marks must end with one, and those inside it must "
                "be doubled"
            ) from error
        if row is None:
            return
        yield row


def _checked_header(lines: _NumberedLines, header: list[str]) -> list[str]:
    names = [name.strip() for name in header]
    repeated = next((name for name in names if name and names.count(name) > 1), None)
    if repeated is not None:
        raise lines.error(f"two columns are called {repeated}; rename one", lines.number)
    return names


def _record(lines: _NumberedLines, header: list[str], row: list[str]) -> dict[str, str]:
    """Return the cells of a row by column.

    Raises:
        RecordError: the row has more or fewer cells than the header, or swallowed another row.
    """
    if len(row) != len(header):
        hint = "a cell that holds a delimiter must be in quotation marks"
        if len(row) < len(header):
            hint = "write the delimiters of empty cells, too"
        raise lines.error(
            f"{len(row)} cells, but the header has {len(header)} ({', '.join(header)}); {hint}"
        )
    if row == header:
        raise lines.error("the header a second time; remove the line")
    _require_one_row(lines, header, row)
    for position, (name, cell) in enumerate(zip(header, row, strict=True)):
        # The first column of a table that pandas wrote has no name.
        if not name and cell and position:
            raise lines.error(
                f"the cell {cell[:60]!r} is in column {position + 1}, which has no name; name it, "
                "or see whether a cell before it holds a delimiter"
            )
    return {name: cell for name, cell in zip(header, row, strict=True) if name}


def _require_one_row(lines: _NumberedLines, header: list[str], row: list[str]) -> None:
    """Check that a cell over several lines is not several rows, between two stray quotes."""
    if lines.number == lines.row_start:
        return
    for cell in row:
        for line in cell.split("\n")[1:]:
            if any(line.count(mark) >= len(header) - 1 for mark in ",;\t"):
                raise lines.error(
                    f"a quotation mark opens here and closes in line {lines.number}, with what "
                    "may be other rows inside; close it in its own line, or double it"
                )
