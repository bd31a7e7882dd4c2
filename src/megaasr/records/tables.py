"""Tables of clips in other people's formats: JSONL, CSV and TSV with the usual field names."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from megaasr.errors import RecordError
from megaasr.records.jsonl import parse_objects
from megaasr.records.utterances import Utterance

# Fields that may hold audio path, reference and id; the first that is present counts.
AUDIO_FIELDS = ("audio", "audio_path", "audio_filepath", "path", "file")
TEXT_FIELDS = ("text", "answer", "transcript", "sentence", "solution")
ID_FIELDS = ("id", "name", "index")


def read_utterances(path: Path) -> Iterator[Utterance]:
    """Yield the utterances of a manifest, of a table of `audio,text`, or of a NeMo manifest.

    An utterance without id is called by its audio path. All columns are kept.

    Raises:
        RecordError: the file cannot be read, or a row has no audio or no text; the message names
            the file and the line.
        OSError: the file does not exist.
    """
    for number, row in read_rows(path):
        audio = next((row[name] for name in AUDIO_FIELDS if row.get(name)), None)
        text = next((row[name] for name in TEXT_FIELDS if row.get(name) is not None), None)
        clip_id = next((row[name] for name in ID_FIELDS if row.get(name) not in (None, "")), audio)
        if not isinstance(audio, str) or not isinstance(text, str):
            missing, fields = ("audio", AUDIO_FIELDS) if not audio else ("text", TEXT_FIELDS)
            raise RecordError(
                f"{path}, line {number}: the {missing} is missing or not a string; it belongs in "
                f"one of the fields {', '.join(fields)}"
            )
        standard = {"id": str(clip_id), "audio": audio, "text": text}
        if "duration" in row and "duration_s" not in row:
            standard["duration_s"] = row["duration"]
        record = {**row, **standard}
        if isinstance(record.get("duration_s"), str):
            record["duration_s"] = _seconds(record["duration_s"], path, number)
        yield Utterance.from_dict(record)


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and row of each line of a CSV, TSV or JSONL file, told by its suffix.

    Raises:
        RecordError: the file cannot be read; the message names the file and the line.
        OSError: the table does not exist.
    """
    if path.suffix.lower() not in {".csv", ".tsv"}:
        yield from read_objects(path)
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            rows = csv.DictReader(text, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            for row in rows:
                yield rows.line_num, {k: v for k, v in row.items() if k and v is not None}
    except (csv.Error, UnicodeDecodeError) as error:
        raise RecordError(f"{path} cannot be read as a table: {error}") from error


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


def _seconds(value: str, path: Path, number: int) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise RecordError(
            f"{path}, line {number}: the duration {value!r} is not a number"
        ) from error
