"""Parquet shards: written in one go, and the only memory of what is done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from megaasr.atomic import atomic_file
from megaasr.errors import RecordError
from megaasr.simulate.corpus.columns import AUDIO, Columns, ColumnType, features_json

ROWS_IN_GROUP = 100
"""Rows that a reader has to fetch together."""

_TYPES = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}
_AUDIO_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_OURS = b"megaasr"


@dataclass(frozen=True, slots=True)
class BrokenSource:
    """An utterance whose audio cannot be used.

    Attributes:
        id: the utterance's.
        file: its audio, as the manifest names it.
        reason: what is wrong, and how to mend it.
    """

    id: str
    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class ShardHead:
    """What a shard says of itself.

    Attributes:
        number: from 0.
        corpus: identity of the data set that it belongs to (see `folder.claim`).
        broken: sources whose clips were left out, in order.
    """

    number: int
    corpus: str
    broken: tuple[BrokenSource, ...]


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """What is known of a finished shard.

    Attributes:
        head: what it says of itself.
        rows: clips in it.
        audio_s: their length, in seconds.
        size_bytes: of the file.
    """

    head: ShardHead
    rows: int
    audio_s: float
    size_bytes: int


class ShardNotWrittenError(OSError):
    """The system did not let us write a shard.

    Attributes:
        clip_bytes: what a clip of it would take.
    """

    def __init__(self, error: OSError, path: str, clip_bytes: float) -> None:
        super().__init__(error.errno, error.strerror or str(error), path)
        self.clip_bytes = clip_bytes

    def __reduce__(self) -> tuple[type[ShardNotWrittenError], tuple[OSError, str, float]]:
        return type(self), (OSError(self.errno, self.strerror), self.filename, self.clip_bytes)


def write_shard(
    path: Path, rows: Sequence[dict[str, Any]], columns: Columns, head: ShardHead
) -> ShardInfo:
    """Write a shard; the same rows give the same bytes.

    Args:
        path: its file, replaced if it exists.
        rows: clips with all `columns` and `audio`.
        columns: of the data set.
        head: kept with the rows.

    Raises:
        ShardNotWrittenError: the system does not let us write.
    """
    audio_s = sum(row["duration_s"] for row in rows)
    ours = json.dumps({"audio_s": audio_s, **asdict(head)}, ensure_ascii=False)
    size_bytes = write_rows(path, rows, columns.flat, {_OURS: ours.encode()})
    return ShardInfo(head, len(rows), audio_s, size_bytes)


def write_rows(
    path: Path,
    rows: Sequence[dict[str, Any]],
    columns: Mapping[str, ColumnType],
    metadata: Mapping[bytes, bytes],
) -> int:
    """Write clips as a Parquet file that `datasets` reads; return its size in bytes.

    Args:
        path: the file, replaced if it exists.
        rows: with `audio` (`bytes` and `path`) and the columns; a missing value is null.
        columns: every column but the audio, the id first.
        metadata: kept with the rows.

    Raises:
        ShardNotWrittenError: the system does not let us write.
    """
    schema = _schema(columns).with_metadata(
        {b"huggingface": features_json(columns).encode(), **metadata}
    )
    table = pa.Table.from_pylist(list(rows), schema=schema)
    flat = list(columns)
    audio = f"{AUDIO}.bytes"
    try:
        with atomic_file(path) as file:
            pq.write_table(
                table,
                file,
                row_group_size=ROWS_IN_GROUP,
                # FLAC does not get smaller, and nobody compares or counts sounds.
                compression={audio: "NONE", f"{AUDIO}.path": "ZSTD", **dict.fromkeys(flat, "ZSTD")},
                use_dictionary=flat,
                write_statistics=flat,
            )
            return file.tell()
    except OSError as error:
        raise ShardNotWrittenError(error, str(path), table.nbytes / max(1, len(rows))) from error


def inspect_shard(path: Path) -> ShardInfo | None:
    """Read a shard's footer; None if there is no file, or it is damaged or not one of ours."""
    try:
        with pq.ParquetFile(path) as file:
            ours = json.loads(file.schema_arrow.metadata[_OURS])
            broken = tuple(BrokenSource(**one) for one in ours["broken"])
            head = ShardHead(ours["number"], ours["corpus"], broken)
            rows = file.metadata.num_rows
            return ShardInfo(head, rows, ours["audio_s"], path.stat().st_size)
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def read_rows(path: Path, *, audio: bool) -> Iterator[dict[str, Any]]:
    """Yield a shard's rows in order, holding a row group at a time.

    Args:
        path: the shard.
        audio: with the sound's `bytes` and `path`.

    Raises:
        RecordError: it cannot be read.
    """
    try:
        with pq.ParquetFile(path) as file:
            wanted = [name for name in file.schema_arrow.names if audio or name != AUDIO]
            for batch in file.iter_batches(batch_size=ROWS_IN_GROUP, columns=wanted):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise RecordError(
            f"{path} cannot be read ({error}); delete it and run the build again, which makes it "
            "anew"
        ) from error


def _schema(columns: Mapping[str, ColumnType]) -> pa.Schema:
    fields = [pa.field(name, _TYPES[kind]) for name, kind in columns.items()]
    return pa.schema([fields[0], pa.field(AUDIO, _AUDIO_TYPE), *fields[1:]])
