"""Write files atomically: a file appears under its name only when it is complete.

Until then the previous version of the file stays in place, even if the process is killed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_PREFIX, _SUFFIX = ".mega-asr-", ".part"


@contextmanager
def atomic_path(target: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `target`; the file written there is renamed to `target`.

    For libraries that open files by path; otherwise use `atomic_file`. If the block raises, the
    temporary file is deleted and `target` stays as it was.

    Args:
        target: final path of the file; an existing file is replaced.
        durable: whether the file and its new name are flushed to the disk, so that they survive a
            power failure. False for many small files that are cheap to make again.

    Raises:
        OSError: the file cannot be renamed, for example.
    """
    # A random name: another process may be writing the same file, and `target.name` may already
    # have the maximum length of a file name.
    part = target.with_name(f"{_PREFIX}{secrets.token_hex(4)}{_SUFFIX}")
    try:
        yield part
        if durable:
            with part.open("rb+") as file:  # Windows flushes only files that are open for writing
                os.fsync(file.fileno())
        part.replace(target)
        if durable:
            _sync_folder(target.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_file(target: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield a binary file to write into; it is renamed to `target` when the block ends.

    Takes the arguments of `atomic_path` and behaves in the same way.

    Raises:
        OSError: the file cannot be created, written or renamed.
    """
    with atomic_path(target, durable=durable) as part, part.open("xb") as file:
        yield file


def write_atomically(target: Path, text: str) -> None:
    """Write a text file in UTF-8, replacing an existing one; line endings are kept as they are.

    A lone surrogate (from a file name that is not UTF-8) is written as a backslash escape, which
    is how JSON represents it.

    Raises:
        OSError: the file cannot be created, written or renamed.
    """
    with atomic_file(target) as file:
        file.write(text.encode("utf-8", errors="backslashreplace"))


def is_temporary(path: Path) -> bool:
    """Return whether a file is one that is being written, or was left by a killed process."""
    return path.name.startswith(_PREFIX) and path.suffix == _SUFFIX


def remove_leftovers(folder: Path, *, older_than_s: float | None = None) -> None:
    """Delete the temporary files that killed processes left in a folder.

    Args:
        folder: folder to search, without its subfolders.
        older_than_s: only files that were last written more than this many seconds ago. None
            deletes all of them: no other process may be writing in the folder then.
    """
    for part in folder.glob(f".*{_SUFFIX}"):
        with contextlib.suppress(OSError):  # in use (Windows), or just renamed by its writer
            if older_than_s is None or part.stat().st_mtime < time.time() - older_than_s:
                part.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power failure, where the system can."""
    with contextlib.suppress(OSError):  # Windows does not open folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
