"""Find the recordings that the user gave, and name them without a path of this machine."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from megaasr.audio import ffmpeg
from megaasr.audio.suffixes import AUDIO_SUFFIXES
from megaasr.errors import UsageError
from megaasr.records import read_manifest


@dataclass(frozen=True, slots=True)
class Recording:
    """A file that the user gave.

    Attributes:
        name: the given folder's name and the path below it, such as `noises/rain/1.wav`; of a
            file that was given itself, the file's name.
        path: where it lies on this machine.
        size_bytes, modified_ns: as the system tells them.
    """

    name: str
    path: Path
    size_bytes: int
    modified_ns: int

    @property
    def category(self) -> str:
        """The folder that holds it, such as `noises/rain`; a file given itself is its own."""
        parent = str(PurePosixPath(self.name).parent)
        return self.name if parent == "." else parent


def find_recordings(given: Sequence[Path]) -> list[Recording]:
    """Return the recordings in folders and below them, sorted by name.

    Files in a folder are taken for recordings by their suffix; hidden ones, and those in hidden
    or linked folders, are left out.

    Args:
        given: folders, single files (of any suffix), or manifests (`mega-asr manifest`).

    Raises:
        UsageError: something given does not exist or cannot be read, holds no recordings, or two
            recordings have the same name.
    """
    found: dict[str, Recording] = {}
    for one in given:
        count = len(found)
        for recording in _recordings_of(one):
            other = found.setdefault(recording.name, recording)
            if other is not recording:
                raise UsageError(
                    f"{other.path} and {recording.path} would both be called {recording.name}; "
                    "rename a folder, or give only the folder above both"
                )
        if len(found) == count:
            kinds = ".wav, .flac, .mp3 and the like"
            raise UsageError(f"{one}: no recordings ({kinds}) in the folder or below it")
    return [found[name] for name in sorted(found)]


def fingerprint(recordings: Sequence[Recording], encoding: str) -> str:
    """Return 16 hexadecimal digits that change when a recording or its encoding does.

    Content is told apart by size and time of change, so that nothing has to be read.

    Args:
        recordings: sorted by name.
        encoding: how they are stored.
    """
    # With ffmpeg more formats can be decoded, so what failed without it is worth another try.
    lines = [encoding, f"ffmpeg {ffmpeg.available()}"]
    lines += [f"{one.size_bytes} {one.modified_ns} {one.name}" for one in recordings]
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()


def _recordings_of(given: Path) -> Iterator[Recording]:
    if given.suffix == ".jsonl":
        yield from _listed(given)
        return
    # os.path, because Path raises for a name that is too long or a folder closed to us.
    if os.path.isfile(given):  # noqa: PTH113
        yield _recording(given, given.name)
        return
    if not os.path.isdir(given):  # noqa: PTH112
        raise UsageError(f"{given}: no file or folder has this path, or it cannot be read")
    closed: list[OSError] = []
    folder = Path(os.path.abspath(given))  # noqa: PTH100 (`.` has no name; links keep theirs)
    for current, folders, names in os.walk(folder, onerror=closed.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(current, name)
            wanted = not name.startswith(".") and file.suffix.lower() in AUDIO_SUFFIXES
            if wanted and file.is_file():
                below = file.relative_to(folder).as_posix()
                yield _recording(file, f"{folder.name or 'root'}/{below}")
    if closed:
        reason = closed[0].strerror or closed[0]
        raise UsageError(f"{closed[0].filename}: the folder cannot be read: {reason}")


def _listed(manifest: Path) -> Iterator[Recording]:
    """Yield the recordings of a manifest; their category is its column of that name."""
    try:
        for one in read_manifest(manifest):
            path = manifest.parent / one.audio
            category = str(one.extra.get("category") or "")
            name = "/".join(part for part in (manifest.stem, category, path.name) if part)
            yield _recording(path, name)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror or error}") from error


def _recording(path: Path, name: str) -> Recording:
    # One spelling of an accented letter, whichever the file system keeps; and a name that is not
    # UTF-8 must still fit into JSON.
    name = unicodedata.normalize("NFC", name).encode("utf-8", "backslashreplace").decode()
    status = path.stat()
    return Recording(name, path, status.st_size, status.st_mtime_ns)
