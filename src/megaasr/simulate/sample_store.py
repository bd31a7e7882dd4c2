"""Recordings decoded once: all samples in one memory-mapped file, and an index beside it.

index.json                    what lies where, what failed, and the recordings' fingerprint
samples-FINGERPRINT.int16     16 kHz samples, one recording after the other (or .float32)

The index is written last, and under a temporary name: it never points at samples that are not
all there. A store is a cache and may be deleted at any time.
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

STORE_SCHEMA: Final = 1
INDEX_FILE = "index.json"
Kind = Literal["noises", "room responses"]
SAMPLE_TYPES: dict[Kind, type[np.int16 | np.float32]] = {
    "noises": np.int16,
    "room responses": np.float32,
}


class StoredRecording(BaseModel):
    """Where a recording lies among the samples.

    Attributes:
        name: relative, see `recordings.Recording`.
        category: the folder that held it.
        start, length: in samples; length is at least 1.
        level_dbfs: RMS of the recording, before it was scaled for storing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    category: str
    start: int = Field(ge=0)
    length: int = Field(ge=1)
    level_dbfs: float


class Failure(BaseModel):
    """A recording that is not in the store, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    reason: str


class StoreIndex(BaseModel):
    """The content of `index.json`.

    Attributes:
        store_schema: version of this record.
        kind: what the recordings are, which decides how they are stored.
        fingerprint: of the recordings' names, sizes and times, see `recordings.fingerprint`.
        samples_file: name of the file of samples.
        recordings: sorted by name.
        failures: what could not be used, sorted by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    store_schema: Literal[1] = STORE_SCHEMA
    kind: Kind
    fingerprint: str
    samples_file: str
    recordings: tuple[StoredRecording, ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class SampleStore:
    """A store on disk, opened when it is first used; a copy in another process opens it anew.

    Attributes:
        folder: where it lies.
        kind: what it shall hold.
        fingerprint: which recordings it shall hold, see `recordings.fingerprint`; None for any.
    """

    folder: Path
    kind: Kind
    fingerprint: str | None = None

    @cached_property
    def index(self) -> StoreIndex:
        """The index.

        Raises:
            UsageError: there is no store in the folder, or one of another kind or fingerprint.
            RecordError: its index is damaged, or of another version.
        """
        path = self.folder / INDEX_FILE
        try:
            index = StoreIndex.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise UsageError(
                f"{self.folder}: no stored {self.kind} there; build them from their folders again"
            ) from error
        except (ValidationError, OSError) as error:
            raise RecordError(f"{path}: no index of stored {self.kind}; {self._mend}") from error
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
        """The recordings' names, sorted."""
        return [one.name for one in self.index.recordings]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def samples(self, name: str) -> NDArray[Any]:
        """Return a recording [time] at 16 kHz, read-only, straight from the file.

        Raises:
            UsageError: there is none of this name, or no store.
            RecordError: index and samples do not belong together, or are damaged.
        """
        samples = self._samples
        if (one := self._by_name.get(name)) is None:
            near = difflib.get_close_matches(name, self._by_name, n=1)
            hint = f"did you mean {near[0]}? Else " if near else ""
            raise UsageError(
                f"there is no {name} among the {len(self._by_name)} {self.kind}; {hint}give the "
                "folders that held it"
            )
        return samples[one.start : one.start + one.length]

    @cached_property
    def _by_name(self) -> dict[str, StoredRecording]:
        return {one.name: one for one in self.index.recordings}

    @cached_property
    def _samples(self) -> NDArray[Any]:
        path = self.folder / self.index.samples_file
        sample_type = np.dtype(SAMPLE_TYPES[self.kind])
        end = sum(one.length for one in self.index.recordings)
        try:
            size = path.stat().st_size
            if size != end * sample_type.itemsize or end == 0:
                raise RecordError(
                    f"{path}: holds {size} bytes, but its index tells of {end} samples of "
                    f"{sample_type.itemsize} bytes; {self._mend}"
                )
            self._check_order(path)
            # A plain array over the map: slices of numpy's own memmap class are slow.
            return np.memmap(path, sample_type, mode="r").view(np.ndarray)
        except OSError as error:
            reason = error.strerror or error
            raise RecordError(f"{path}: cannot be read: {reason}; {self._mend}") from error

    def _check_order(self, path: Path) -> None:
        end = 0
        for one in self.index.recordings:
            if one.start != end:
                raise RecordError(
                    f"{path}: {one.name} begins at sample {one.start} in the index instead of "
                    f"{end}; {self._mend}"
                )
            end += one.length

    @property
    def _mend(self) -> str:
        return f"delete the folder {self.folder} and build it again"

    def __getstate__(self) -> dict[str, Any]:
        # Without what is cached: another process shall map the file itself.
        return {field.name: getattr(self, field.name) for field in fields(self)}


def default_folder(kind: Kind, given: Sequence[Path]) -> Path:
    """Return where the store of folders lies when none is named, in the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    paths = "\n".join(sorted(os.path.abspath(one) for one in given))  # noqa: PTH100
    digest = hashlib.blake2b(os.fsencode(paths), digest_size=8).hexdigest()
    return cache / "megaasr" / f"{kind.replace(' ', '-')}-{digest}"
