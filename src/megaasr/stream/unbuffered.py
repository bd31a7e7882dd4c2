"""New files whose bytes reach the system at once, so that a full disk is noticed where it matters.

A buffer would keep what the disk did not take, and write it later, or fail again when the file is
closed.
"""

from __future__ import annotations

from io import FileIO
from pathlib import Path


def create(path: Path) -> FileIO:
    """Create a file to write into.

    Raises:
        FileExistsError: it exists.
        OSError: it cannot be created.
    """
    return path.open("xb", buffering=0)


def write_all(file: FileIO, data: bytes) -> None:
    """Write bytes at the position of a file, all of them: the system may take them in parts.

    Raises:
        OSError: the disk is full, for example; a part may have been written.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
