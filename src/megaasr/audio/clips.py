"""The sound of a clip, in a file or in a Parquet shard (`train-00000-of-00002.parquet#17`)."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from megaasr.audio.files import read
from megaasr.audio.waveform import Waveform
from megaasr.errors import AudioError, AudioNotFoundError, UsageError

_ROW = re.compile(r"^(?P<shard>.+\.parquet)#(?P<row>[0-9]+)$")


def exists(root: Path, audio: str) -> bool:
    """Tell whether there is a file for the sound."""
    row = _ROW.match(audio)
    return (root / (row["shard"] if row else audio)).is_file()


def read_clip(root: Path, audio: str) -> Waveform:
    """Decode the sound of a clip at 16 kHz.

    Args:
        root: where relative paths start.
        audio: as the test set names it.

    Raises:
        AudioError: there is none, or it cannot be decoded.
        UsageError: it is in a Parquet shard and pyarrow is not installed.
    """
    row = _ROW.match(audio)
    if row is None:
        return read(root / audio)
    return read(_row_bytes(root / row["shard"], int(row["row"]), audio))


def clip_bytes(root: Path, audio: str) -> bytes:
    """Return the encoded sound of a clip as it is stored.

    Args:
        root: where relative paths start.
        audio: as the data set names it.

    Raises:
        AudioError: there is none.
        UsageError: it is in a Parquet shard and pyarrow is not installed.
    """
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
    first = 0
    file = _open(str(shard))
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if row < first + rows:
            found: bytes = _group(str(shard), group)[row - first]["bytes"]
            return found
        first += rows
    raise AudioError(audio, f"{shard} has {first} rows only")


@lru_cache(maxsize=4)
def _open(shard: str) -> Any:
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


@lru_cache(maxsize=2)  # rows are asked for in order: one group is decoded once
def _group(shard: str, group: int) -> list[Any]:
    rows: list[Any] = _open(shard).read_row_group(group, columns=["audio"])["audio"].to_pylist()
    return rows
