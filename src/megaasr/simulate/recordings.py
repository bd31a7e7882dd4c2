"""Find the user's recordings, and give them names that do not depend on this machine."""

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
    """A recording on disk.

    Attributes:
        name: name of the folder that the user named and the path below it, such as
            `noises/rain/1.wav`; for a file that the user named itself, the name of the file.
        path: path on this machine.
        size_bytes: size of the file in bytes.
        modified_ns: time of the last modification in nanoseconds since the epoch.
    """

    name: str
    path: Path
    size_bytes: int
    modified_ns: int

    @property
    def category(self) -> str:
        """Folder that contains the recording, such as `noises/rain`; else its own name."""
        parent = str(PurePosixPath(self.name).parent)
        return self.name if parent == "." else parent


def find_recordings(paths: Sequence[Path]) -> list[Recording]:
    """Return the recordings in folders and their subfolders, sorted by name.

    In folders, recordings are recognised by their suffix. Hidden files and the contents of hidden
    or linked folders are ignored.

    Args:
        paths: folders, single files (with any suffix), or manifests of `mega-asr manifest`.

    Raises:
        UsageError: a path does not exist, cannot be read or has no recordings, or two recordings
            have the same name.
    """
    by_name: dict[str, Recording] = {}
    for path in paths:
        count = len(by_name)
        for recording in _recordings_of(path):
            first = by_name.setdefault(recording.name, recording)
            if first is not recording:
                raise UsageError(
                    f"{first.path} and {recording.path} would both be called {recording.name}; "
                    "rename a folder, or give only the folder above both"
                )
        if len(by_name) == count:
            suffixes = ".wav, .flac, .mp3 and the like"
            raise UsageError(f"{path}: no recordings ({suffixes}) in the folder or below it")
    return [by_name[name] for name in sorted(by_name)]


def fingerprint(recordings: Sequence[Recording], encoding: str) -> str:
    """Return 16 hexadecimal digits that change when a recording or its encoding changes.

    Contents are distinguished by size and time of modification, so that no file has to be read.

    Args:
        recordings: the recordings, sorted by name.
        encoding: name of the format that they are cached in.
    """
    # ffmpeg decodes more formats, so recordings that failed without it are tried again with it.
    lines = [encoding, f"ffmpeg {ffmpeg.available()}"]
    lines += [f"{file.size_bytes} {file.modified_ns} {file.name}" for file in recordings]
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()


def _recordings_of(path: Path) -> Iterator[Recording]:
    if path.suffix == ".jsonl":
        yield from _listed(path)
        return
    # os.path, because Path raises for a name that is too long or a folder without permission.
    if os.path.isfile(path):  # noqa: PTH113
        yield _recording(path, path.name)
        return
    if not os.path.isdir(path):  # noqa: PTH112
        raise UsageError(f"{path}: no file or folder has this path, or it cannot be read")
    errors: list[OSError] = []
    folder = Path(os.path.abspath(path))  # noqa: PTH100 (`.` has no name; links keep theirs)
    for current, folders, names in os.walk(folder, onerror=errors.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(current, name)
            is_audio = not name.startswith(".") and file.suffix.lower() in AUDIO_SUFFIXES
            if is_audio and file.is_file():
                below = file.relative_to(folder).as_posix()
                yield _recording(file, f"{folder.name or 'root'}/{below}")
    if errors:
        reason = errors[0].strerror or errors[0]
        raise UsageError(f"{errors[0].filename}: the folder cannot be read: {reason}")


def _listed(manifest: Path) -> Iterator[Recording]:
    """Yield the recordings of a manifest; the column `category` is part of their names."""
    try:
        for utterance in read_manifest(manifest):
            path = manifest.parent / utterance.audio
            category = str(utterance.extra.get("category") or "")
            name = "/".join(part for part in (manifest.stem, category, path.name) if part)
            yield _recording(path, name)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror or error}") from error


def _recording(path: Path, name: str) -> Recording:
    # File systems store accented letters in different Unicode forms; use one. A name that is not
    # valid UTF-8 must still be representable in JSON.
    name = unicodedata.normalize("NFC", name).encode("utf-8", "backslashreplace").decode()
    status = path.stat()
    return Recording(name, path, status.st_size, status.st_mtime_ns)
