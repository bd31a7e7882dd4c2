"""Keep the outputs that a step made from other inputs or by another command, and restore them.

Nothing is ever deleted: deleting folders that are no longer needed is up to the user.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from megaasr import strict_json
from megaasr.atomic import write_atomically

BACKUP_SUFFIX = ".before"
"""Suffix of a backup's folder; the second and later backups have a number, too."""
KEY_FILE = ".mega-asr-pipeline.json"
"""File in a backup that records the key it was made for."""


def archive_output(folder: Path, key: str, completed: dict[str, Any] | None) -> Path:
    """Rename a step's output folder to the first unused backup name.

    Args:
        folder: the step's output folder.
        key: key of the inputs and the command that the folder was made for.
        completed: record of the step's run; None if it was not finished.

    Returns:
        The backup's folder.

    Raises:
        OSError: the folder cannot be renamed.
    """
    write_atomically(folder / KEY_FILE, strict_json.dumps({"key": key, "done": completed}))
    unused = (path for path in _backup_names(folder) if not (path.exists() or path.is_symlink()))
    return folder.rename(next(unused))


def restore_output(folder: Path, key: str) -> dict[str, Any] | None:
    """Rename a backup that was made for a key to the step's output folder.

    Args:
        folder: the step's output folder; nothing is restored if it exists.
        key: key of the current inputs and command.

    Returns:
        Record of the step's run; None if there is no such backup, or if it was not finished.
    """
    if folder.exists():
        return None
    for backup in sorted(folder.parent.glob(f"{glob.escape(folder.name)}{BACKUP_SUFFIX}*")):
        try:
            record = json.loads((backup / KEY_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # a folder of the user's
        if isinstance(record, dict) and record.get("key") == key:
            (backup / KEY_FILE).unlink()
            backup.rename(folder)
            completed = record.get("done")
            return completed if isinstance(completed, dict) else None
    return None


def _backup_names(folder: Path) -> Iterator[Path]:
    yield folder.with_name(f"{folder.name}{BACKUP_SUFFIX}")
    number = 2
    while True:
        yield folder.with_name(f"{folder.name}{BACKUP_SUFFIX}-{number}")
        number += 1
