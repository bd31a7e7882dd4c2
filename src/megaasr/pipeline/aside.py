"""What a step made for other inputs, or with another command, is kept beside and can come back.

Nothing is ever deleted: folders that are not wanted any more are for their owner to delete.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from megaasr.atomic import write_atomically

BEFORE = ".before"
"""What the name of a folder that was set aside has after its own; a number follows from 2 on."""
NOTE = ".mega-asr-pipeline.json"
"""Says in a folder that was set aside what it was made for."""


def set_aside(folder: Path, key: str, done: dict[str, Any] | None) -> Path:
    """Rename a step's folder to the first free name, and return that.

    Args:
        folder: of the step.
        key: that it was made for.
        done: how, if it was finished.

    Raises:
        OSError: the system does not let us.
    """
    write_atomically(folder / NOTE, json.dumps({"key": key, "done": done}))
    target = next(one for one in _names(folder) if not (one.exists() or one.is_symlink()))
    return folder.rename(target)


def take_back(folder: Path, key: str) -> dict[str, Any] | None:
    """Give a folder that was set aside its name again, if it was made for this key.

    Returns:
        How it was done; None if there is no such folder, or it was not finished.
    """
    if folder.exists():
        return None
    for aside in sorted(folder.parent.glob(f"{glob.escape(folder.name)}{BEFORE}*")):
        try:
            note = json.loads((aside / NOTE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # somebody else's folder
        if isinstance(note, dict) and note.get("key") == key:
            (aside / NOTE).unlink()
            aside.rename(folder)
            done = note.get("done")
            return done if isinstance(done, dict) else None
    return None


def _names(folder: Path) -> Iterator[Path]:
    yield folder.with_name(f"{folder.name}{BEFORE}")
    number = 2
    while True:
        yield folder.with_name(f"{folder.name}{BEFORE}-{number}")
        number += 1
