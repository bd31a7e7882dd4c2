"""Audio of a clip, from a file or from a row of a Parquet shard.

A row is named after its shard, `train-00000-of-00002.parquet#17`, counting from 0.
"""

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
    """Return whether the file with a clip's audio exists; for a Parquet row, its shard."""
    row = _ROW.match(audio)
    return (root / (row["shard"] if row else audio)).is_file()


def read_clip(root: Path, audio: str) -> Waveform:
    """Decode the audio of a clip to 16 kHz mono.

    Args:
        root: folder that relative paths start from.
        audio: path of an audio file, or `SHARD.parquet#ROW`.

    Raises:
        AudioError: the file or row does not exist, or cannot be decoded.
        UsageError: `audio` is a Parquet row and pyarrow is not installed.
    """
    row = _ROW.match(audio)
    if row is None:
        return read(root / audio)
    return read(_row_bytes(root / row["shard"], int(row["row"]), audio))


def clip_bytes(root: Path, audio: str) -> bytes:
    """Return the encoded audio of a clip, byte for byte as it is stored.

    Args:
        root: folder that relative paths start from.
        audio: path of an audio file, or `SHARD.parquet#ROW`.

    Raises:
        AudioError: the file or row does not exist.
        UsageError: `audio` is a Parquet row and pyarrow is not installed.
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
    first_row = 0
    file = _open_parquet(str(shard))
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if row < first_row + rows:
            encoded: bytes = _read_row_group(str(shard), group)[row - first_row]["bytes"]
            return encoded
        first_row += rows
    raise AudioError(audio, f"{shard} has {first_row} rows only")


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
