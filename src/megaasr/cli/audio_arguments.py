"""The AUDIO arguments of commands: files, folders and standard input."""

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
        audio: path of the folder.
        reason: explanation, with a hint at `--recursive` if that may help.
    """

    audio: str
    reason: str


def expand(arguments: Sequence[str], *, recursive: bool) -> list[AudioInput | UnusableFolder]:
    """Return the recordings that arguments stand for, in order and without duplicates.

    The files of a folder are sorted by name; hidden files and hidden folders are ignored.

    Args:
        arguments: paths of files and folders, or `-` for standard input.
        recursive: include the subfolders of folders.

    Raises:
        UsageError: an argument is empty.
    """
    if "" in arguments:
        raise UsageError("one of the AUDIO arguments is empty; is a variable not set?")
    by_path: dict[str, AudioInput | UnusableFolder] = {}
    for argument in arguments:
        # os.path, because Path raises for too long names and unreadable folders.
        if argument != STANDARD_INPUT and os.path.isdir(argument):  # noqa: PTH112
            inputs = list(_in_folder(argument, recursive=recursive))
            for audio_input in inputs:
                by_path.setdefault(os.path.abspath(audio_input.audio), audio_input)  # noqa: PTH100
            if not inputs:
                where = (
                    "or its subfolders" if recursive else "; --recursive searches its subfolders"
                )
                reason = f"no recordings (.wav, .flac, .mp3 and the like) in this folder{where}"
                by_path.setdefault(argument, UnusableFolder(argument, reason))
        elif argument == STANDARD_INPUT:
            by_path.setdefault(argument, AudioInput(argument))
        else:
            by_path.setdefault(os.path.abspath(argument), AudioInput(argument))  # noqa: PTH100
    return list(by_path.values())


def has_recordings_below(argument: str) -> bool:
    """Return whether an argument is a folder whose subfolders hold recordings."""
    if argument == STANDARD_INPUT or not os.path.isdir(argument):  # noqa: PTH112
        return False
    inputs = _in_folder(argument, recursive=True)
    return any(isinstance(item, AudioInput) and item.subfolder != "." for item in inputs)


def stated_durations(inputs: Sequence[AudioInput | UnusableFolder]) -> dict[str, float] | None:
    """Return the length in seconds that every recording states, by path as the user wrote it.

    Returns:
        The lengths, 0 for those that cannot be read; None if some recording states no length.
    """
    from megaasr.audio.files import duration_s
    from megaasr.errors import AudioError

    durations: dict[str, float] = {}
    for item in inputs:
        length: float | None = 0.0
        if item.audio == STANDARD_INPUT:
            return None
        if isinstance(item, AudioInput):
            try:
                length = duration_s(item.audio)
            except AudioError:
                length = 0.0
        if length is None:
            return None
        durations[item.audio] = length
    return durations


def _in_folder(folder: str, *, recursive: bool) -> Iterator[AudioInput | UnusableFolder]:
    """Yield the recordings in a folder, then the folders that could not be read."""
    unreadable: list[OSError] = []
    for current, subfolders, names in os.walk(folder, onerror=unreadable.append):
        subfolders[:] = sorted(
            name for name in subfolders if recursive and not name.startswith(".")
        )
        subfolder = Path(current).relative_to(folder).as_posix()
        for name in sorted(names):
            file = Path(current, name)
            is_audio = not name.startswith(".") and file.suffix.lower() in AUDIO_SUFFIXES
            # Opening a pipe that nobody writes to would block forever.
            is_pipe = os.path.exists(file) and file.is_fifo()  # noqa: PTH110
            if is_audio and not is_pipe:
                yield AudioInput(str(file), subfolder)
    for error in unreadable:
        reason = f"the folder cannot be read: {error.strerror or error}"
        yield UnusableFolder(str(error.filename or folder), reason)
