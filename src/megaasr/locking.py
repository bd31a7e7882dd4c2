"""Locks that keep a second process out of a folder or file, where the system has such locks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from megaasr.errors import MegaASRError


@contextmanager
def exclusive(path: Path, refusal: MegaASRError) -> Iterator[int | None]:
    """Lock an existing folder or file for this process, and children that inherit it.

    The system releases the lock when the last of these processes ends. Windows and some network
    file systems have no such locks; there, nothing keeps two processes apart.

    Args:
        path: the folder or file to lock.
        refusal: raised if another process holds the lock.

    Yields:
        The descriptor that holds the lock; None on Windows.
    """
    try:
        import fcntl
    except ImportError:
        yield None
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise refusal from error
        except OSError:  # a network file system without locks
            pass
        yield handle
    finally:
        os.close(handle)
