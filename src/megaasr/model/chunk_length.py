"""The longest chunk that a model should decode at once, as its folder states it.

`chunking.json` beside the weights is `{"max_chunk_s": SECONDS}`.
"""

from __future__ import annotations

import json
from pathlib import Path

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.errors import CheckpointError

CHUNKING_FILE = "chunking.json"
"""Name of the file beside a model's weights."""
_MIN_S = 2.0


def default_max_chunk_s() -> float:
    """Return the length in seconds of the longest chunk of a model that states none."""
    from megaasr.model.interface import MAX_CHUNK_S  # imports numpy

    return MAX_CHUNK_S


def read_max_chunk_s(folder: Path) -> float:
    """Return the length of a model's longest chunk in seconds; 30 without `chunking.json`.

    A model that was trained on short clips transcribes long chunks worse than several short ones.

    Args:
        folder: folder of the base model.

    Raises:
        CheckpointError: the file is damaged, or states less than 2 s or more than 30 s.
    """
    longest_s = default_max_chunk_s()
    path = folder / CHUNKING_FILE
    if not path.is_file():
        return longest_s
    try:
        seconds = float(json.loads(path.read_text(encoding="utf-8"))["max_chunk_s"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not _MIN_S <= seconds <= longest_s:
        raise CheckpointError(f"{path}: max_chunk_s is {seconds:g}; it must be 2 to 30")
    return seconds


def write_max_chunk_s(folder: Path, seconds: float) -> None:
    """Write `chunking.json` into the folder of a model."""
    write_atomically(folder / CHUNKING_FILE, strict_json.dumps({"max_chunk_s": seconds}) + "\n")
