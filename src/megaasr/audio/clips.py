"""Audio of a clip, from a file, a segment of a file, or a row of a Parquet shard.

A row is named after its shard, `train-00000-of-00002.parquet#17`, counting from 0; segments are
named as `megaasr.audio.segments` describes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from megaasr.audio.encoding import encode
from megaasr.audio.files import read
from megaasr.audio.segments import ROUNDING_S, RecordingSegment, parse_segment, recording_of
from megaasr.audio.waveform import Waveform
from megaasr.errors import AudioError, AudioNotFoundError, UsageError

_ROW = re.compile(r"^(?P<shard>.+\.parquet)#(?P<row>[0-9]+)$")


def exists(root: Path, audio: str) -> bool:
    """Return whether the file with a clip's audio exists; for a Parquet row, its shard."""
    recording = recording_of(audio)
    row = _ROW.match(recording)
    return (root / (row["shard"] if row else recording)).is_file()


def read_clip(root: Path, audio: str) -> Waveform:
    """Decode the audio of a clip to 16 kHz mono.

    Args:
        root: folder that relative paths start from.
        audio: path of an audio file, `SHARD.parquet#ROW`, or a segment of either.

    Raises:
        AudioError: the file or row does not exist, cannot be decoded, or ends before the segment.
        UsageError: `audio` is a Parquet row and pyarrow is not installed.
    """
    segment = parse_segment(audio)
    if segment is not None:
        return _cut(segment, _read_recording(root, segment.recording, _version(root, audio)))
    row = _ROW.match(audio)
    if row is None:
        return read(root / audio)
    return read(_row_bytes(root / row["shard"], int(row["row"]), audio))


def _cut(segment: RecordingSegment, recording: Waveform) -> Waveform:
    length_s = recording.duration_s
    start_s, end_s = segment.start_s or 0.0, length_s if segment.end_s is None else segment.end_s
    if segment.start_s is None and end_s < length_s <= end_s + ROUNDING_S:
        end_s = length_s
    first, end = round(start_s * recording.sample_rate), round(end_s * recording.sample_rate)
    samples = recording.samples[first:end]
    if end_s > length_s + ROUNDING_S or not samples.size:
        raise AudioError(
            segment.recording,
            f"the segment from {start_s:g} to {end_s:g} s ends after the recording, which is "
            f"{length_s:.2f} s long; correct offset and duration, or is the file complete?",
        )
    return Waveform(samples.copy(), recording.sample_rate)


@lru_cache(maxsize=1)  # segments of a recording follow each other, so it is decoded only once
def _read_recording(root: Path, recording: str, version: tuple[int, int]) -> Waveform:
    return read_clip(root, recording)


def _version(root: Path, audio: str) -> tuple[int, int]:
    """Return what changes when the file with a segment is written again."""
    row = _ROW.match(recording := recording_of(audio))
    path = root / (row["shard"] if row else recording)
    if not path.is_file():
        raise AudioNotFoundError(path, "there is no such file")
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def clip_bytes(root: Path, audio: str) -> bytes:
    """Return the encoded audio of a clip, byte for byte as it is stored; of a segment as FLAC.

    Args:
        root: folder that relative paths start from.
        audio: path of an audio file, `SHARD.parquet#ROW`, or a segment of either.

    Raises:
        AudioError: the file or row does not exist.
        UsageError: `audio` is a Parquet row and pyarrow is not installed.
    """
    if parse_segment(audio) is not None:
        return encode(read_clip(root, audio), "flac")
    row = _ROW.match(audio)
    if row is not None:
        return _row_bytes(root / row["shard"], int(row["row"]), audio)
    path = root / audio
    if not path.is_file():
        raise AudioNotFoundError(path, "there is no such file")
    return path.read_bytes()


def _row_bytes(shard: Path, row: int, audio: str) -> bytes:
    if not shard.is_file():
        raise AudioNotFoundError(audio, f"there is no file {shard}")
    first_row = 0
    file = _open_parquet(str(shard))
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if row < first_row + rows:
            with _READING:
                encoded: bytes = _read_row_group(str(shard), group)[row - first_row]["bytes"]
            return encoded
        first_row += rows
    raise AudioError(audio, f"{shard} has {first_row} rows only")


# One thread reads at a time: concurrent reads of a ParquetFile can wait for each other for ever.
_READING = Lock()


@lru_cache(maxsize=4)
def _open_parquet(shard: str) -> Any:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise UsageError(
            f"{shard}: reading Parquet needs pyarrow; pip install 'megaasr[simulate]'"
        ) from error
    try:
        return ParquetFile(shard)
    except (OSError, ArrowException) as error:
        raise AudioError(shard, f"cannot be read as Parquet: {error}") from error


@lru_cache(maxsize=2)  # rows are read in order, so each group is decoded only once
def _read_row_group(shard: str, group: int) -> list[Any]:
    rows: list[Any] = (
        _open_parquet(shard).read_row_group(group, columns=["audio"])["audio"].to_pylist()
    )
    return rows
