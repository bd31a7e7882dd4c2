"""A cache of decoded recordings: one memory-mapped file of samples with an index.

index.json                    positions, failures, and the fingerprint of the recordings
samples-FINGERPRINT.int16     16 kHz samples of all recordings in order (or .float32)

The index is written last and atomically, so that it never refers to samples that are incomplete.
The cache may be deleted at any time.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from megaasr.errors import RecordError, UsageError

CACHE_SCHEMA: Final = 1
INDEX_FILE = "index.json"
RecordingKind = Literal["noises", "room responses"]
SAMPLE_TYPES: dict[RecordingKind, type[np.int16 | np.float32]] = {
    "noises": np.int16,
    "room responses": np.float32,
}


class CachedRecording(BaseModel):
    """Position of a recording in the file of samples.

    Attributes:
        name: name of the recording, see `recordings.Recording`.
        category: folder that contains the recording.
        start, length: first sample and number of samples; at least one.
        level_dbfs: RMS of the recording in dBFS before it was scaled for the cache.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    category: str
    start: int = Field(ge=0)
    length: int = Field(ge=1)
    level_dbfs: float


class RecordingFailure(BaseModel):
    """A recording that cannot be used.

    Attributes:
        name: name of the recording.
        reason: why it is not in the cache.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    reason: str


class CacheIndex(BaseModel):
    """Contents of `index.json`.

    Attributes:
        store_schema: version of this record.
        kind: kind of the recordings, which decides the type of the samples.
        fingerprint: hash of the recordings' names, sizes and times, see `recordings.fingerprint`.
        samples_file: name of the file of samples.
        recordings: cached recordings, sorted by name.
        failures: recordings that cannot be used, sorted by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    store_schema: Literal[1] = CACHE_SCHEMA
    kind: RecordingKind
    fingerprint: str
    samples_file: str
    recordings: tuple[CachedRecording, ...]
    failures: tuple[RecordingFailure, ...]


@dataclass(frozen=True)
class SampleCache:
    """A cache on disk, opened on first use; a copy in another process opens the files itself.

    Attributes:
        folder: folder of the cache.
        kind: expected kind of recordings.
        fingerprint: expected fingerprint, see `recordings.fingerprint`; None for any.
    """

    folder: Path
    kind: RecordingKind
    fingerprint: str | None = None

    @cached_property
    def index(self) -> CacheIndex:
        """The index of the cache.

        Raises:
            UsageError: the folder has no cache, or one of another kind or fingerprint.
            RecordError: the index is damaged or of another version.
        """
        path = self.folder / INDEX_FILE
        try:
            index = CacheIndex.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise UsageError(
                f"{self.folder}: no stored {self.kind} there; build them from their folders again"
            ) from error
        except (ValidationError, OSError) as error:
            raise RecordError(f"{path}: no index of stored {self.kind}; {self._remedy}") from error
        if index.kind != self.kind:
            raise UsageError(f"{self.folder}: holds {index.kind}, not {self.kind}; name another")
        if self.fingerprint not in {None, index.fingerprint}:
            raise UsageError(
                f"{self.folder}: was built again from other recordings in the meantime; start "
                "again, and give each set of recordings a folder of its own"
            )
        return index

    @property
    def names(self) -> list[str]:
        """Names of the recordings, sorted."""
        return [recording.name for recording in self.index.recordings]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def samples(self, name: str) -> NDArray[Any]:
        """Return the samples of a recording, a read-only array [time] mapped from the file.

        Raises:
            UsageError: no recording has this name, or there is no cache.
            RecordError: the index does not match the samples, or one of them is damaged.
        """
        samples = self._samples
        if (recording := self._by_name.get(name)) is None:
            near = difflib.get_close_matches(name, self._by_name, n=1)
            hint = f"did you mean {near[0]}? Else " if near else ""
            raise UsageError(
                f"there is no {name} among the {len(self._by_name)} {self.kind}; {hint}give the "
                "folders that held it"
            )
        return samples[recording.start : recording.start + recording.length]

    @cached_property
    def _by_name(self) -> dict[str, CachedRecording]:
        return {recording.name: recording for recording in self.index.recordings}

    @cached_property
    def _samples(self) -> NDArray[Any]:
        path = self.folder / self.index.samples_file
        sample_type = np.dtype(SAMPLE_TYPES[self.kind])
        end = sum(recording.length for recording in self.index.recordings)
        try:
            size = path.stat().st_size
            if size != end * sample_type.itemsize or end == 0:
                raise RecordError(
                    f"{path}: holds {size} bytes, but its index lists {end} samples of "
                    f"{sample_type.itemsize} bytes; {self._remedy}"
                )
            self._check_order(path)
            # As a plain array, because slices of numpy's memmap class are slow.
            return np.memmap(path, sample_type, mode="r").view(np.ndarray)
        except OSError as error:
            reason = error.strerror or error
            raise RecordError(f"{path}: cannot be read: {reason}; {self._remedy}") from error

    def _check_order(self, path: Path) -> None:
        end = 0
        for recording in self.index.recordings:
            if recording.start != end:
                raise RecordError(
                    f"{path}: {recording.name} starts at sample {recording.start} in the index "
                    f"instead of {end}; {self._remedy}"
                )
            end += recording.length

    @property
    def _remedy(self) -> str:
        return f"delete the folder {self.folder} and build it again"

    def __getstate__(self) -> dict[str, Any]:
        # Without the cached properties: another process maps the file itself.
        return {field.name: getattr(self, field.name) for field in fields(self)}


def default_cache_folder(kind: RecordingKind, paths: Sequence[Path]) -> Path:
    """Return the default cache folder for recordings from these paths, in the user's cache."""
    absolute = "\n".join(sorted(os.path.abspath(path) for path in paths))  # noqa: PTH100
    digest = hashlib.blake2b(os.fsencode(absolute), digest_size=8).hexdigest()
    return user_cache_folder() / f"{kind.replace(' ', '-')}-{digest}"


def user_cache_folder() -> Path:
    """Return the package's folder in the user's cache; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "megaasr"
