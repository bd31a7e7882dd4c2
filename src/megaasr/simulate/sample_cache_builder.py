"""Build a cache of decoded recordings; recordings that have not changed are not decoded again."""

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
from megaasr.simulate.sample_cache import (
    INDEX_FILE,
    SAMPLE_TYPES,
    CachedRecording,
    CacheIndex,
    RecordingFailure,
    RecordingKind,
    SampleCache,
    default_cache_folder,
)

_STALE_PART_S = 3600.0  # a build that is still running writes all the time


class UnusableRecordingError(MegaASRError):
    """A recording can be decoded but not used; the message is the reason."""


@dataclass(frozen=True, slots=True)
class EncodedRecording:
    """A decoded recording in the type of the cache.

    Attributes:
        blocks: samples as arrays [time], in the type of the cache.
        scale: value of a full-scale sample in the cache.
    """

    blocks: Iterator[NDArray[Any]]
    scale: float


@dataclass(frozen=True, slots=True)
class RecordingEncoder:
    """Converts recordings of one kind to the format of the cache.

    Attributes:
        kind: kind of the recordings.
        version: version of `encode`; caches of another version are built again.
        encode: decodes a file; may raise `UnusableRecordingError` or any `AudioError`.
    """

    kind: RecordingKind
    version: str
    encode: Callable[[Path], EncodedRecording]


def build_sample_cache(
    paths: Sequence[Path],
    folder: Path | None,
    encoder: RecordingEncoder,
    on_progress: OnProgress,
) -> SampleCache:
    """Return the cache of the recordings in `paths`; it is built if it is missing or outdated.

    Args:
        paths: folders of recordings, or single files.
        folder: folder of the cache; None for a folder in the user's cache.
        encoder: converts the recordings to the format of the cache.
        on_progress: called with the number of decoded recordings and the total number.

    Raises:
        UsageError: there are no recordings, see `find_recordings`, or none can be used.
        AudioError: the cache cannot be written.
    """
    folder = Path(folder or default_cache_folder(encoder.kind, paths)).absolute()
    recordings = find_recordings(paths)
    digest = fingerprint(recordings, f"{encoder.kind} {encoder.version}")
    cache = SampleCache(folder, encoder.kind, digest)
    if _is_complete(cache):
        return cache
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, older_than_s=_STALE_PART_S)
        _build(recordings, folder, encoder, digest, on_progress=on_progress)
    except OSError as error:
        reason = error.strerror or error
        raise AudioError(
            folder,
            f"the {encoder.kind} cannot be cached there: {reason}; check the permissions and the "
            "free space, or name another folder",
        ) from error
    return SampleCache(folder, encoder.kind, digest)


def _is_complete(cache: SampleCache) -> bool:
    try:
        cache.samples(cache.names[0])  # checks that the index matches the samples
    except MegaASRError:
        return False  # missing, of other recordings, or damaged
    return True


def _build(
    recordings: Sequence[Recording],
    folder: Path,
    encoder: RecordingEncoder,
    digest: str,
    *,
    on_progress: OnProgress,
) -> None:
    cached: list[CachedRecording] = []
    failures: list[RecordingFailure] = []
    samples_file = f"samples-{digest}.{np.dtype(SAMPLE_TYPES[encoder.kind]).name}"
    with atomic_file(folder / samples_file) as file:
        for done, recording in enumerate(recordings, 1):
            result = _append_recording(file, recording, encoder)
            if isinstance(result, RecordingFailure):
                failures.append(result)
            else:
                cached.append(result)
            on_progress(done, len(recordings))
        if not cached:
            raise UsageError(
                f"none of {len(recordings)} recordings can be used as {encoder.kind}; the "
                f"first, {failures[0].name}: {failures[0].reason}"
            )
    index = CacheIndex(
        kind=encoder.kind,
        fingerprint=digest,
        samples_file=samples_file,
        recordings=tuple(cached),
        failures=tuple(failures),
    )
    write_atomically(folder / INDEX_FILE, index.model_dump_json(indent=1))
    _remove_samples_except(folder, samples_file)


def _append_recording(
    file: BinaryIO, recording: Recording, encoder: RecordingEncoder
) -> CachedRecording | RecordingFailure:
    """Append a recording to the file; if it cannot be used, leave the file as it was."""
    sample_type = np.dtype(SAMPLE_TYPES[encoder.kind])
    start = file.tell()
    power_sum = 0.0
    try:
        encoded = encoder.encode(recording.path)
        for block in encoded.blocks:
            power_sum += float(np.square(block, dtype=np.float64).sum())
            file.write(block.astype(sample_type, copy=False).tobytes())
    except (AudioError, UnusableRecordingError) as error:
        file.seek(start)
        file.truncate()
        reason = error.reason if isinstance(error, AudioError) else str(error)
        return RecordingFailure(name=recording.name, reason=reason)
    length = (file.tell() - start) // sample_type.itemsize
    return CachedRecording(
        name=recording.name,
        category=recording.category,
        start=start // sample_type.itemsize,
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
