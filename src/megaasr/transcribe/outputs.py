"""The output folder of `mega-asr transcribe`: names of files, complete writes, and resuming.

Files are named as whisper names them, `<output_dir>/<stem>.<format>`, except that a transcript
never overwrites that of another recording. If the name is taken, the first free one of these is
used instead of `<stem>`:

1. `<file name>` (`talk.wav.txt`),
2. `<folder>_<file name>` (`monday_talk.wav.txt`),
3. `<file name>-2`, `-3` and so on.

For recordings found in a folder argument, the subfolders of that folder are mirrored. If each
channel of a recording was transcribed for itself, its name is added (`talk.left.txt`).

The hidden file `.mega-asr.jsonl` in the output folder is an index: it states which recording each
name belongs to, and the settings it was transcribed with. Lines are only appended, one before the
outputs of a recording are written and one after them, so that a run may be killed at any moment:
outputs count as complete only with the second line. An incomplete last line is ignored.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path, PurePosixPath

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.errors import UsageError
from megaasr.records import TRANSCRIPT_SCHEMA, Transcript
from megaasr.records.marking import Marking
from megaasr.records.subtitles import DEFAULT_LAYOUT, SubtitleLayout

INDEX_NAME = ".mega-asr.jsonl"
"""Name of the index in every output folder. It may be deleted; `--resume` then starts again."""
STANDARD_INPUT = "-"
"""Argument that stands for standard input; its outputs are named `stdin`."""


@dataclass(frozen=True, slots=True)
class AudioInput:
    """A recording to transcribe.

    Attributes:
        audio: path of the recording as the caller wrote it, or `-` for standard input.
        subfolder: path, relative to the output folder, of the folder for the transcript.
    """

    audio: str
    subfolder: str = "."


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of the index.

    Attributes:
        audio: path of the recording, relative to the output folder.
        name: path of the outputs without `.<format>`, relative to the output folder.
        formats: formats of the outputs.
        input_hash: SHA-256 of the recording's bytes; None in the line that is written before the
            outputs.
        settings_hash: SHA-256 of the settings that the recording was transcribed with.
        channels: names of the channels, if each has outputs of its own; else empty.
    """

    audio: str
    name: str
    formats: tuple[str, ...]
    input_hash: str | None
    settings_hash: str
    channels: tuple[str, ...] = ()


class OutputFolder:
    """The transcripts of a run and of earlier runs in one folder.

    Args:
        folder: output folder; created if it does not exist.
        formats: names of output formats, see `megaasr.records.FORMATS`.
        settings: everything but the recording that determines a transcript, as JSON values.
        layout: how subtitles look.
        marking: what all formats but json display in place of unintelligible words.

    Raises:
        UsageError: the folder cannot be created or written to.
    """

    def __init__(
        self,
        folder: Path,
        formats: Sequence[str],
        settings: Mapping[str, object],
        layout: SubtitleLayout = DEFAULT_LAYOUT,
        marking: Marking = "keep",
    ) -> None:
        self._folder = folder
        self._formats = tuple(formats)
        self._layout = layout
        if layout != DEFAULT_LAYOUT:  # files of versions without a choice stay valid
            settings = {**settings, "subtitles": asdict(layout)}
        self._marking: Marking = marking
        if marking != "keep":
            settings = {**settings, "unintelligible": marking}
        # Files of an earlier schema are made again: their times mean something else.
        canonical = strict_json.dumps({"schema": TRANSCRIPT_SCHEMA, **settings}, sort_keys=True)
        self._settings_hash = hashlib.sha256(canonical.encode()).hexdigest()
        self._index_path = folder / INDEX_NAME
        self._names: dict[str, str] = {}
        self._input_hashes: dict[str, str | None] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._entries = {entry.audio: entry for entry in _read_index(self._index_path)}
            _end_last_line(self._index_path)
        except OSError as error:
            raise UsageError(
                f"the output folder {folder} cannot be written in: {error.strerror or error}; "
                "choose another one with --output-dir"
            ) from error

    def assign_names(self, recordings: Sequence[AudioInput]) -> None:
        """Assign a name to the outputs of every recording; the other methods rely on these names.

        A recording keeps its name from an earlier run. The name of another recording is not used as
        long as both that recording and one of its transcripts exist.
        """
        owners = {
            _folded(entry.name): entry.audio
            for entry in self._entries.values()
            if self._is_claimed(entry)
        }
        sources = {_absolute(recording.audio) for recording in recordings}
        for recording in recordings:
            key = self._key(recording)
            earlier = self._entries.get(key)
            for name in _candidate_names(recording, earlier.name if earlier else None):
                free = owners.get(_folded(name), key) == key
                if free and not sources & {_absolute(path) for path in self._files(name)}:
                    break
            owners[_folded(name)] = key
            self._names[key] = name

    def paths(self, recording: AudioInput, channel: str | None = None) -> list[Path]:
        """Return the paths of a recording's outputs, or of one channel's, existing or not."""
        name = self._names[self._key(recording)]
        return self._files(name if channel is None else f"{name}.{channel}")

    def is_done(self, recording: AudioInput) -> bool:
        """Return whether all outputs exist, made from the same bytes with the same settings.

        The recording is read (for its SHA-256) only if everything else agrees.
        """
        entry = self._entries.get(self._key(recording))
        if entry is None or entry.input_hash is None:
            return False
        if entry.settings_hash != self._settings_hash or entry.name != self._names[entry.audio]:
            return False
        if not set(self._formats) <= set(entry.formats):
            return False
        for channel in entry.channels or (None,):
            if not all(path.is_file() for path in self.paths(recording, channel)):
                return False
        return self._input_hash(recording) == entry.input_hash

    def hash_input(self, recording: AudioInput) -> None:
        """Hash a recording before it is transcribed, so that a change during transcription makes
        the next run transcribe it again."""
        self._input_hash(recording)

    def write(self, recording: AudioInput, transcripts: Sequence[Transcript]) -> list[Path]:
        """Write the transcript of a recording, or those of its channels, in every format.

        Each file appears complete or not at all.

        Returns:
            The paths of the files.

        Raises:
            OSError: a file cannot be written; files that were written before stay.
        """
        key = self._key(recording)
        entry = _Entry(
            audio=key,
            name=self._names[key],
            formats=self._formats,
            input_hash=None,
            settings_hash=self._settings_hash,
            channels=tuple(
                transcript.channel for transcript in transcripts if transcript.channel is not None
            ),
        )
        self._append(entry)
        written = []
        for transcript in transcripts:
            paths = self.paths(recording, transcript.channel)
            for path, output_format in zip(paths, self._formats, strict=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                shown = transcript
                if output_format != "json":
                    shown = transcript.marked(self._marking)
                write_atomically(path, shown.render(output_format, self._layout))
            written += paths
        input_hash = self._input_hashes.pop(key, None)
        if input_hash is not None:
            self._append(replace(entry, input_hash=input_hash))
        return written

    def _append(self, entry: _Entry) -> None:
        with self._index_path.open("a", encoding="utf-8", errors="backslashreplace") as index:
            index.write(strict_json.dumps(asdict(entry)) + "\n")
        self._entries[entry.audio] = entry

    def _input_hash(self, recording: AudioInput) -> str | None:
        """Return the SHA-256 of a recording; None if it cannot be read, or only once."""
        key = self._key(recording)
        if key not in self._input_hashes:
            self._input_hashes[key] = None
            path = Path(recording.audio)
            with contextlib.suppress(OSError, ValueError):  # ValueError: a NUL in the name
                # A pipe is no regular file: it can be read only once.
                if recording.audio != STANDARD_INPUT and path.is_file():
                    with path.open("rb") as audio:
                        self._input_hashes[key] = hashlib.file_digest(audio, "sha256").hexdigest()
        return self._input_hashes[key]

    def _key(self, recording: AudioInput) -> str:
        """Return a recording's key in the index: its path relative to the output folder."""
        if recording.audio == STANDARD_INPUT:
            return STANDARD_INPUT
        path = _absolute(recording.audio)
        with contextlib.suppress(ValueError):  # on another drive of Windows it stays absolute
            path = os.path.relpath(path, self._folder)
        # A file may be named `-` too.
        return "./-" if path == STANDARD_INPUT else Path(path).as_posix()

    def _is_claimed(self, entry: _Entry) -> bool:
        """Return whether the recording of an entry and one of its transcripts still exist."""
        # `..` is resolved by name, as in `_key`, because the output folder may be a symbolic link.
        source = _absolute(self._folder / entry.audio)
        names = [f"{entry.name}.{channel}" for channel in entry.channels] or [entry.name]
        return (entry.audio == STANDARD_INPUT or os.path.exists(source)) and any(  # noqa: PTH110
            (self._folder / f"{name}.{output_format}").exists()
            for name in names
            for output_format in entry.formats
        )

    def _files(self, name: str) -> list[Path]:
        return [self._folder / f"{name}.{output_format}" for output_format in self._formats]


def _candidate_names(recording: AudioInput, earlier: str | None) -> Iterator[str]:
    """Yield names for a recording's outputs, in order of preference, without end.

    Args:
        recording: the recording.
        earlier: name from an earlier run, or None.
    """
    if earlier is not None:
        yield earlier
    subfolder = PurePosixPath(recording.subfolder)
    path = Path("stdin" if recording.audio == STANDARD_INPUT else _absolute(recording.audio))
    yield str(subfolder / path.stem)
    yield str(subfolder / path.name)
    yield str(subfolder / f"{path.parent.name}_{path.name}")
    for number in count(2):
        yield str(subfolder / f"{path.name}-{number}")


def _folded(name: str) -> str:
    """Return a key that is equal for names that some file systems do not distinguish."""
    return unicodedata.normalize("NFC", name).casefold()


def _absolute(path: str | Path) -> str:
    """Return an absolute path without `..`; symbolic links are not followed."""
    return os.path.abspath(path)  # noqa: PTH100 (Path.resolve would follow links)


def _read_index(path: Path) -> Iterator[_Entry]:
    """Yield the entries of an index; incomplete and invalid lines are skipped."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, KeyError):
                record = json.loads(line)
                formats = tuple(record["formats"])
                channels = tuple(record.get("channels", ()))
                entry = _Entry(**{**record, "formats": formats, "channels": channels})
                name = PurePosixPath(entry.name)
                outside = ".." in name.parts or name.is_absolute()
                if isinstance(entry.audio, str) and not outside:
                    yield entry


def _end_last_line(path: Path) -> None:
    """Create an index if it does not exist, and complete an unfinished last line with a newline."""
    with path.open("ab+") as index:
        if index.tell() and index.seek(-1, os.SEEK_END) >= 0 and index.read(1) != b"\n":
            index.write(b"\n")
