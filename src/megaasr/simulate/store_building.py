"""Build a store of samples from recordings, once; an unchanged set is not decoded again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from megaasr.atomic import atomic_file, remove_leftovers, write_atomically
from megaasr.errors import AudioError, MegaASRError, UsageError
from megaasr.progress import OnProgress
from megaasr.simulate.recordings import Recording, find_recordings, fingerprint
from megaasr.simulate.sample_store import (
    INDEX_FILE,
    SAMPLE_TYPES,
    Failure,
    Kind,
    SampleStore,
    StoredRecording,
    StoreIndex,
    default_folder,
)

_STALE_PART_S = 3600.0  # a build that is still running writes all the time


class UnusableRecordingError(MegaASRError):
    """A recording that can be decoded, but is of no use; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A recording on its way into the store.

    Attributes:
        blocks: its samples [time] in the store's type.
        scale: what a full-scale sample of the recording became.
    """

    blocks: Iterator[NDArray[Any]]
    scale: float


@dataclass(frozen=True, slots=True)
class Encoding:
    """How recordings become what is stored.

    Attributes:
        kind: what the recordings are.
        version: of `encode`; another one builds the store again.
        encode: decodes one file; may raise `UnusableRecordingError`, or any `AudioError`.
    """

    kind: Kind
    version: str
    encode: Callable[[Path], Encoded]


def build_store(
    given: Sequence[Path], folder: Path | None, encoding: Encoding, on_progress: OnProgress
) -> SampleStore:
    """Return the store of the recordings in `given`, built now if it is not there or outdated.

    Args:
        given: folders of recordings, or single files.
        folder: where the store lies; None for the user's cache.
        encoding: how to store one.
        on_progress: called with recordings done and recordings in all.

    Raises:
        UsageError: nothing to read, see `find_recordings`, or no recording can be used.
        AudioError: the store cannot be written.
    """
    folder = Path(folder or default_folder(encoding.kind, given)).absolute()
    recordings = find_recordings(given)
    digest = fingerprint(recordings, f"{encoding.kind} {encoding.version}")
    store = SampleStore(folder, encoding.kind, digest)
    if _is_whole(store):
        return store
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, older_than_s=_STALE_PART_S)
        _build(recordings, folder, encoding, digest, on_progress)
    except OSError as error:
        reason = error.strerror or error
        raise AudioError(
            folder,
            f"the {encoding.kind} cannot be stored there: {reason}; check the rights and the free "
            "space, or name another folder",
        ) from error
    return SampleStore(folder, encoding.kind, digest)


def _is_whole(store: SampleStore) -> bool:
    try:
        store.samples(store.names[0])  # checks that index and samples fit
    except MegaASRError:
        return False  # none there, or of other recordings, or damaged
    return True


def _build(
    recordings: Sequence[Recording],
    folder: Path,
    encoding: Encoding,
    digest: str,
    on_progress: OnProgress,
) -> None:
    stored: list[StoredRecording] = []
    failures: list[Failure] = []
    samples_file = f"samples-{digest}.{np.dtype(SAMPLE_TYPES[encoding.kind]).name}"
    with atomic_file(folder / samples_file) as file:
        for done, recording in enumerate(recordings, 1):
            result = _store_one(file, recording, encoding)
            if isinstance(result, Failure):
                failures.append(result)
            else:
                stored.append(result)
            on_progress(done, len(recordings))
        if not stored:
            raise UsageError(
                f"none of {len(recordings)} recordings can be used as {encoding.kind}; the "
                f"first, {failures[0].name}: {failures[0].reason}"
            )
    index = StoreIndex(
        kind=encoding.kind,
        fingerprint=digest,
        samples_file=samples_file,
        recordings=tuple(stored),
        failures=tuple(failures),
    )
    write_atomically(folder / INDEX_FILE, index.model_dump_json(indent=1))
    _remove_samples_except(folder, samples_file)


def _store_one(
    file: BinaryIO, recording: Recording, encoding: Encoding
) -> StoredRecording | Failure:
    """Append a recording to the file, or leave the file as it was."""
    sample_type = np.dtype(SAMPLE_TYPES[encoding.kind])
    begin = file.tell()
    power_sum = 0.0
    try:
        encoded = encoding.encode(recording.path)
        for block in encoded.blocks:
            power_sum += float(np.square(block, dtype=np.float64).sum())
            file.write(block.astype(sample_type, copy=False).tobytes())
    except (AudioError, UnusableRecordingError) as error:
        file.seek(begin)
        file.truncate()
        reason = error.reason if isinstance(error, AudioError) else str(error)
        return Failure(name=recording.name, reason=reason)
    length = (file.tell() - begin) // sample_type.itemsize
    return StoredRecording(
        name=recording.name,
        category=recording.category,
        start=begin // sample_type.itemsize,
        length=length,
        level_dbfs=round(10 * math.log10(power_sum / length) - 20 * math.log10(encoded.scale), 2),
    )


def _remove_samples_except(folder: Path, samples_file: str) -> None:
    for old in folder.glob("samples-*"):
        if old.name != samples_file:
            _remove(old)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # in use (Windows): the next build tries again
