"""A folder or file is one process's, as far as the system can tell."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from megaasr.errors import MegaASRError


@contextmanager
def exclusive(path: Path, refusal: MegaASRError) -> Iterator[int | None]:
    """Keep an existing folder or file for this process, and for those that inherit the descriptor.

    The system lets go of it when the last of them ends. Without locks (Windows, some network file
    systems) two at once are the user's care.

    Args:
        path: what is kept.
        refusal: raised if another process has it.

    Yields:
        The descriptor; None on Windows.
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
