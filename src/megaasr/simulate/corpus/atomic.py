"""Files that appear under their name only when they are complete and on the disk."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_SUFFIX = ".part"


@contextmanager
def atomic_file(target: Path) -> Iterator[BinaryIO]:
    """Give a file to write into; it takes its name at the end, if there was no error.

    Raises:
        OSError: the system does not let us write.
    """
    # A random name: a process of an interrupted run may still be writing the same file.
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}{_SUFFIX}")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
        _sync_folder(target.parent)
    finally:
        part.unlink(missing_ok=True)


def write_atomically(target: Path, text: str) -> None:
    """Replace a file by a text, UTF-8.

    Raises:
        OSError: the system does not let us write.
    """
    with atomic_file(target) as file:
        file.write(text.encode("utf-8"))


def remove_leftovers(folder: Path) -> None:
    """Delete what killed processes left behind in a folder; nobody else may be writing there."""
    for part in folder.glob(f".*{_SUFFIX}"):
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a renaming last through a loss of power, where the system can."""
    with contextlib.suppress(OSError):  # Windows opens no folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
