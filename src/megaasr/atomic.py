"""Files that appear under their name only when they are complete and on the disk.

What was there before stays until then, even if the process is killed.
"""

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
    # A random name: another process may be writing the same file, and `target.name` may be as long
    # as names can be.
    part = target.with_name(f".mega-asr-{secrets.token_hex(4)}{_SUFFIX}")
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
    """Replace a file by a text, UTF-8, lines ended as they are in the text.

    Half a surrogate pair (of a file name that is not UTF-8) becomes the escape that JSON reads.

    Raises:
        OSError: the system does not let us write.
    """
    with atomic_file(target) as file:
        file.write(text.encode("utf-8", errors="backslashreplace"))


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
