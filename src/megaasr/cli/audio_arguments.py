"""What the AUDIO arguments of a command mean: files, folders and standard input."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from megaasr.audio.suffixes import AUDIO_SUFFIXES
from megaasr.errors import UsageError
from megaasr.transcribe.outputs import STANDARD_INPUT, AudioInput


@dataclass(frozen=True, slots=True)
class UnusableFolder:
    """A folder argument without recordings, or a folder that cannot be read.

    Attributes:
        audio: the folder.
        reason: what was looked for, and how to find more; or what is wrong.
    """

    audio: str
    reason: str


def expand(arguments: Sequence[str], *, recursive: bool) -> list[AudioInput | UnusableFolder]:
    """Return the recordings that the arguments stand for, each once, in order.

    Files in folders come sorted by name; hidden ones, and those in hidden folders, are left out.

    Args:
        arguments: paths, or `-` for standard input.
        recursive: look in the folders below a folder too.

    Raises:
        UsageError: if an argument is empty.
    """
    if "" in arguments:
        raise UsageError("one of the AUDIO arguments is empty; is a variable not set?")
    found: dict[str, AudioInput | UnusableFolder] = {}
    for argument in arguments:
        # os.path, because Path raises for a name that is too long or a folder closed to us.
        if argument != STANDARD_INPUT and os.path.isdir(argument):  # noqa: PTH112
            one: AudioInput | UnusableFolder | None = None
            for one in _in_folder(argument, recursive=recursive):
                found.setdefault(os.path.abspath(one.audio), one)  # noqa: PTH100
            if one is None:
                where = "in it or below it" if recursive else "in it; --recursive looks below it"
                reason = f"a folder without recordings (.wav, .flac, .mp3 and the like) {where}"
                found.setdefault(argument, UnusableFolder(argument, reason))
        elif argument == STANDARD_INPUT:
            found.setdefault(argument, AudioInput(argument))
        else:
            found.setdefault(os.path.abspath(argument), AudioInput(argument))  # noqa: PTH100
    return list(found.values())


def _in_folder(folder: str, *, recursive: bool) -> Iterator[AudioInput | UnusableFolder]:
    closed: list[OSError] = []
    for current, folders, names in os.walk(folder, onerror=closed.append):
        folders[:] = sorted(one for one in folders if recursive and not one.startswith("."))
        below = Path(current).relative_to(folder).as_posix()
        for name in sorted(names):
            file = Path(current, name)
            wanted = not name.startswith(".") and file.suffix.lower() in AUDIO_SUFFIXES
            # A pipe that nobody writes to would be waited for without end.
            pipe = os.path.exists(file) and file.is_fifo()  # noqa: PTH110
            if wanted and not pipe:
                yield AudioInput(str(file), below)
    for error in closed:
        reason = f"the folder cannot be read: {error.strerror or error}"
        yield UnusableFolder(str(error.filename or folder), reason)
