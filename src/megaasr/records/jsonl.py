"""JSONL: a file with one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from megaasr.errors import RecordError


def parse_objects(path: Path, *, hint: str = "") -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and object of each line; empty lines are skipped.

    Args:
        path: the JSONL file.
        hint: what the message about a line that is not JSON ends with.

    Raises:
        RecordError: a line is not a JSON object; the message names the file and the line.
        OSError: the file cannot be read.
    """
    # Decoded line by line, so that a byte that is not UTF-8 is blamed on its own line.
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line.decode("utf-8"))
            except ValueError as error:
                raise RecordError(f"{path}, line {number}: not JSON ({error}){hint}") from error
            if not isinstance(record, dict):
                raise RecordError(f"{path}, line {number}: the line is not a JSON object")
            yield number, record
