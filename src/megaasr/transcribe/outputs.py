"""Which file is written where, when it is already there, and how it is never left half written.

Names follow whisper, `<output_dir>/<stem>.<format>`, except that nothing overwrites the transcript
of another recording. Where `<stem>` belongs to another one, the name is the first of these that
is free:

1. `<file name>` (`talk.wav.txt`),
2. `<folder>_<file name>` (`monday_talk.wav.txt`),
3. `<file name>-2`, `-3` and so on.

Recordings found below a folder argument are written to the same place below the output folder.

The hidden file `.mega-asr.jsonl` in the output folder says which recording each name belongs to,
and with what settings it was made. It is only ever appended to, one line before the outputs of a
recording are written and one after, so that a run may be killed at any moment: an output counts
as done only if the second line is there. A last line that was cut off is ignored.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path, PurePosixPath

from megaasr.atomic import write_atomically
from megaasr.errors import UsageError
from megaasr.records import Transcript

INDEX_NAME = ".mega-asr.jsonl"
"""The hidden file in every output folder; it may be deleted, then `--resume` starts again."""
STANDARD_INPUT = "-"
"""The name of the recording that comes from standard input; its outputs are called `stdin`."""


@dataclass(frozen=True, slots=True)
class AudioInput:
    """A recording that was asked for.

    Attributes:
        audio: its path as given, or `-` for standard input.
        below: the folder below the output folder that its transcript belongs in, `.` for none.
    """

    audio: str
    below: str = "."


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of the index.

    Attributes:
        audio: the recording's path, relative to the output folder.
        name: its outputs, without `.<format>`, relative to the output folder.
        formats: what was written.
        input_hash: SHA-256 of the recording's bytes; None while the outputs are being written.
        settings_hash: SHA-256 of what else decides about the words.
    """

    audio: str
    name: str
    formats: tuple[str, ...]
    input_hash: str | None
    settings_hash: str


class OutputFolder:
    """The transcripts of a run, and what earlier runs left in the same folder.

    Args:
        folder: made if it does not exist.
        formats: names of output formats, see `megaasr.records.FORMATS`.
        settings: everything but the recording that decides about the words, as JSON values.

    Raises:
        UsageError: if the folder cannot be made or written in.
    """

    def __init__(
        self, folder: Path, formats: Sequence[str], settings: Mapping[str, object]
    ) -> None:
        self._folder = folder
        self._formats = tuple(formats)
        canonical = json.dumps(settings, sort_keys=True)
        self._settings_hash = hashlib.sha256(canonical.encode()).hexdigest()
        self._index_path = folder / INDEX_NAME
        self._names: dict[str, str] = {}
        self._hashes: dict[str, str | None] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._entries = {entry.audio: entry for entry in _read_index(self._index_path)}
            _end_last_line(self._index_path)
        except OSError as error:
            raise UsageError(
                f"the output folder {folder} cannot be written in: {error.strerror or error}; "
                "choose another one with --output-dir"
            ) from error

    def plan(self, inputs: Sequence[AudioInput]) -> None:
        """Give every input its name; must come before the methods below.

        A recording keeps the name that it had in an earlier run. Names of other recordings are
        left alone as long as both the recording and a transcript of it exist.
        """
        owners = {
            _fold(entry.name): entry.audio for entry in self._entries.values() if self._live(entry)
        }
        sources = {_absolute(one.audio) for one in inputs}
        for one in inputs:
            key = self._key(one)
            earlier = self._entries.get(key)
            for name in _candidates(one, earlier.name if earlier else None):
                free = owners.get(_fold(name), key) == key
                if free and not sources & {_absolute(path) for path in self._files(name)}:
                    break
            owners[_fold(name)] = key
            self._names[key] = name

    def paths(self, one: AudioInput) -> list[Path]:
        """Return the files that hold, or will hold, the transcript of an input."""
        return self._files(self._names[self._key(one)])

    def is_done(self, one: AudioInput) -> bool:
        """Tell whether every output exists, made from the same bytes with the same settings.

        The recording is read (for its SHA-256) only if everything else agrees.
        """
        entry = self._entries.get(self._key(one))
        if entry is None or entry.input_hash is None:
            return False
        if entry.settings_hash != self._settings_hash or entry.name != self._names[entry.audio]:
            return False
        if not set(self._formats) <= set(entry.formats):
            return False
        if not all(path.is_file() for path in self.paths(one)):
            return False
        return self._input_hash(one) == entry.input_hash

    def begin(self, one: AudioInput) -> None:
        """Take the hash of a recording that is about to be transcribed."""
        self._input_hash(one)

    def write(self, one: AudioInput, transcript: Transcript) -> list[Path]:
        """Write the transcript in every format and return the files.

        Each file appears whole or not at all.

        Raises:
            OSError: if a file cannot be written; files written before stay.
        """
        key = self._key(one)
        entry = _Entry(key, self._names[key], self._formats, None, self._settings_hash)
        self._append(entry)
        paths = self.paths(one)
        for path, format_ in zip(paths, self._formats, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, transcript.render(format_))
        input_hash = self._hashes.pop(key, None)
        if input_hash is not None:
            self._append(_Entry(key, entry.name, self._formats, input_hash, self._settings_hash))
        return paths

    def _append(self, entry: _Entry) -> None:
        with self._index_path.open("a", encoding="utf-8", errors="backslashreplace") as index:
            index.write(json.dumps(asdict(entry)) + "\n")
        self._entries[entry.audio] = entry

    def _input_hash(self, one: AudioInput) -> str | None:
        """Return the SHA-256 of a recording, or None if it cannot be read (or read twice)."""
        key = self._key(one)
        if key not in self._hashes:
            self._hashes[key] = None
            path = Path(one.audio)
            with contextlib.suppress(OSError, ValueError):  # ValueError: a NUL in the name
                if one.audio != STANDARD_INPUT and path.is_file():  # a pipe can be read only once
                    with path.open("rb") as audio:
                        self._hashes[key] = hashlib.file_digest(audio, "sha256").hexdigest()
        return self._hashes[key]

    def _key(self, one: AudioInput) -> str:
        """Return what the index calls an input: its path from the output folder."""
        if one.audio == STANDARD_INPUT:
            return STANDARD_INPUT
        path = _absolute(one.audio)
        with contextlib.suppress(ValueError):  # another drive on Windows: stays absolute
            path = os.path.relpath(path, self._folder)
        # A file may be called `-` too.
        return "./-" if path == STANDARD_INPUT else Path(path).as_posix()

    def _live(self, entry: _Entry) -> bool:
        """Tell whether an earlier run's claim on a name still means something."""
        # `..` is taken by name, as `_key` made it: the output folder may be a link.
        source = _absolute(self._folder / entry.audio)
        return (entry.audio == STANDARD_INPUT or os.path.exists(source)) and any(  # noqa: PTH110
            (self._folder / f"{entry.name}.{format_}").exists() for format_ in entry.formats
        )

    def _files(self, name: str) -> list[Path]:
        return [self._folder / f"{name}.{format_}" for format_ in self._formats]


def _candidates(one: AudioInput, earlier: str | None) -> Iterator[str]:
    """Yield the names that an input might have, the best first, without end."""
    if earlier is not None:
        yield earlier
    below = PurePosixPath(one.below)
    path = Path("stdin" if one.audio == STANDARD_INPUT else _absolute(one.audio))
    yield str(below / path.stem)
    yield str(below / path.name)
    yield str(below / f"{path.parent.name}_{path.name}")
    for number in count(2):
        yield str(below / f"{path.name}-{number}")


def _fold(name: str) -> str:
    """Return what two names share if some file system takes them for one."""
    return unicodedata.normalize("NFC", name).casefold()


def _absolute(path: str | Path) -> str:
    """Return a path without `..`, links left as they are."""
    return os.path.abspath(path)  # noqa: PTH100 (Path.resolve would follow links)


def _read_index(path: Path) -> Iterator[_Entry]:
    """Yield the entries of an index, skipping lines that were cut off or are from elsewhere."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, KeyError):
                record = json.loads(line)
                entry = _Entry(**{**record, "formats": tuple(record["formats"])})
                name = PurePosixPath(entry.name)
                outside = ".." in name.parts or name.is_absolute()
                if isinstance(entry.audio, str) and not outside:
                    yield entry


def _end_last_line(path: Path) -> None:
    """Make sure that the index exists and that the next line starts on a line of its own."""
    with path.open("ab+") as index:
        if index.tell() and index.seek(-1, os.SEEK_END) >= 0 and index.read(1) != b"\n":
            index.write(b"\n")
