"""JSONL: a file with one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from megaasr import strict_json
from megaasr.errors import RecordError
from megaasr.records.lines import read_lines


def parse_objects(path: Path, *, hint: str = "") -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and object of each line; empty lines are skipped.

    `NaN`, which is not JSON but which many programs write for a missing value, is read as null.

    Args:
        path: the JSONL file, see `records.lines` for its encoding.
        hint: what the message about a line that is not JSON ends with.

    Raises:
        RecordError: a line is not a JSON object, names a field twice, or holds an infinite number
            or half a character; the message names the file and the line.
        OSError: the file cannot be read.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            record = _DECODER.decode(line)
            if "\\u" in line:
                strict_json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise RecordError(
                f"{path}, line {number}: half of a surrogate pair ({error.object[error.start]!r}) "
                "is not a character; write both halves or neither"
            ) from error
        except (ValueError, RecursionError) as error:
            # Of an array that was written over several lines, only the first is told.
            array = "; write one object per line, not an array" if line[:1] == "[" else ""
            raise RecordError(f"{path}, line {number}: not JSON ({error}){array}{hint}") from error
        if not isinstance(record, dict):
            raise RecordError(
                f"{path}, line {number}: the line is not a JSON object; write one object per line"
            )
        yield number, record


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {repeated!r} occurs twice; keep one")
    return record


def _constant(name: str) -> None:
    if name != "NaN":
        raise ValueError(f"{name} is not a number of JSON; write null")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
