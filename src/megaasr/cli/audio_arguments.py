"""What the AUDIO arguments of a command mean: files, folders and standard input."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from megaasr.errors import UsageError
from megaasr.transcribe.outputs import STANDARD_INPUT, AudioInput

_SUFFIXES = """
.3g2 .3gp .aac .ac3 .aif .aifc .aiff .amr .ape .asf .au .avi .awb .caf .dts .flac .flv .m4a .m4b
.m4v .mka .mkv .mov .mp2 .mp3 .mp4 .mpeg .mpg .mpga .oga .ogg .ogv .opus .ra .rf64 .snd .tak .ts
.tta .w64 .wav .wave .webm .wma .wmv .wv
"""
AUDIO_SUFFIXES = frozenset(_SUFFIXES.split())
"""Files in a folder are taken for recordings by these; a file named itself may have any name."""


@dataclass(frozen=True, slots=True)
class EmptyFolder:
    """A folder argument without recordings.

    Attributes:
        audio: the folder as given.
        reason: what was looked for, and how to find more.
    """

    audio: str
    reason: str


def expand(arguments: Sequence[str], *, recursive: bool) -> list[AudioInput | EmptyFolder]:
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
    found: dict[str, AudioInput | EmptyFolder] = {}
    for argument in arguments:
        if argument != STANDARD_INPUT and Path(argument).is_dir():
            one: AudioInput | EmptyFolder | None = None
            for one in _in_folder(argument, recursive=recursive):
                found.setdefault(os.path.abspath(one.audio), one)  # noqa: PTH100
            if one is None:
                where = "in it or below it" if recursive else "in it; --recursive looks below it"
                reason = f"a folder without recordings (.wav, .flac, .mp3 and the like) {where}"
                found.setdefault(argument, EmptyFolder(argument, reason))
        elif argument == STANDARD_INPUT:
            found.setdefault(argument, AudioInput(argument))
        else:
            found.setdefault(os.path.abspath(argument), AudioInput(argument))  # noqa: PTH100
    return list(found.values())


def _in_folder(folder: str, *, recursive: bool) -> Iterator[AudioInput]:
    for current, folders, names in os.walk(folder):
        folders[:] = sorted(one for one in folders if recursive and not one.startswith("."))
        below = Path(current).relative_to(folder).as_posix()
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_SUFFIXES:
                yield AudioInput(str(Path(current, name)), below)
