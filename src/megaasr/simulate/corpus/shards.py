"""Parquet shards. They are written atomically, and are the only record of what is finished."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from megaasr import strict_json
from megaasr.atomic import atomic_file
from megaasr.errors import RecordError
from megaasr.simulate.corpus.columns import AUDIO, Columns, ColumnType, features_json

ROWS_IN_GROUP = 100
"""Number of rows in a row group, which readers fetch as a whole."""

_TYPES = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}
_AUDIO_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_METADATA_KEY = b"megaasr"


NO_EFFECT = "no effect: "
"""How the reason begins if a single clip is left out, and not its source."""


@dataclass(frozen=True, slots=True)
class BrokenSource:
    """An utterance whose audio cannot be used, or a clip whose degradation has no effect.

    Attributes:
        id: id of the utterance, or of the clip.
        file: path of its audio, as in the manifest.
        reason: the problem, and how to fix it.
    """

    id: str
    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class ShardHead:
    """Metadata stored in a shard.

    Attributes:
        number: number of the shard, from 0.
        corpus: identity of the data set that the shard belongs to, see `folder.claim`.
        broken: sources whose clips were left out, in order.
    """

    number: int
    corpus: str
    broken: tuple[BrokenSource, ...]


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """Summary of a finished shard.

    Attributes:
        head: metadata stored in the shard.
        rows: number of clips.
        audio_s: total length of the clips in seconds.
        size_bytes: size of the file in bytes.
    """

    head: ShardHead
    rows: int
    audio_s: float
    size_bytes: int


class ShardNotWrittenError(OSError):
    """A shard cannot be written.

    Attributes:
        clip_bytes: estimated size of one of its clips in bytes.
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
        path: path of the file; an existing file is replaced.
        rows: clips with all `columns` and `audio`.
        columns: columns of the data set.
        head: metadata to store with the rows.

    Raises:
        ShardNotWrittenError: the file cannot be written.
    """
    audio_s = sum(row["duration_s"] for row in rows)
    metadata = strict_json.dumps({"audio_s": audio_s, **asdict(head)}, ensure_ascii=False)
    size_bytes = write_rows(path, rows, columns.types, {_METADATA_KEY: metadata.encode()})
    return ShardInfo(head, len(rows), audio_s, size_bytes)


def write_rows(
    path: Path,
    rows: Sequence[dict[str, Any]],
    columns: Mapping[str, ColumnType],
    metadata: Mapping[bytes, bytes],
) -> int:
    """Write clips as a Parquet file that `datasets` can read; return its size in bytes.

    Args:
        path: path of the file; an existing file is replaced.
        rows: clips with `audio` (`bytes` and `path`) and the columns; missing values become null.
        columns: types of all columns except the audio, by name; the id comes first.
        metadata: metadata to store with the rows.

    Raises:
        ShardNotWrittenError: the file cannot be written.
    """
    schema = _schema(columns).with_metadata(
        {b"huggingface": features_json(columns).encode(), **metadata}
    )
    table = pa.Table.from_pylist(list(rows), schema=schema)
    names = list(columns)
    audio = f"{AUDIO}.bytes"
    try:
        with atomic_file(path) as file:
            pq.write_table(
                table,
                file,
                row_group_size=ROWS_IN_GROUP,
                # FLAC does not compress further, and statistics of audio bytes are useless.
                compression={
                    audio: "NONE",
                    f"{AUDIO}.path": "ZSTD",
                    **dict.fromkeys(names, "ZSTD"),
                },
                use_dictionary=names,
                write_statistics=names,
            )
            return file.tell()
    except OSError as error:
        raise ShardNotWrittenError(error, str(path), table.nbytes / max(1, len(rows))) from error


def inspect_shard(path: Path) -> ShardInfo | None:
    """Return the summary of a shard; None if the file is missing, damaged, or not a shard."""
    try:
        with pq.ParquetFile(path) as file:
            metadata = json.loads(file.schema_arrow.metadata[_METADATA_KEY])
            broken = tuple(BrokenSource(**source) for source in metadata["broken"])
            head = ShardHead(metadata["number"], metadata["corpus"], broken)
            rows = file.metadata.num_rows
            return ShardInfo(head, rows, metadata["audio_s"], path.stat().st_size)
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def read_rows(path: Path, *, audio: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows of a shard in order, with one row group in memory at a time.

    Args:
        path: path of the shard.
        audio: whether rows include the audio column, with `bytes` and `path`.

    Raises:
        RecordError: the shard cannot be read.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if audio or name != AUDIO]
            for batch in file.iter_batches(batch_size=ROWS_IN_GROUP, columns=names):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise RecordError(
            f"{path} cannot be read ({error}); delete it and run the build again, which makes it "
            "once more"
        ) from error


def _schema(columns: Mapping[str, ColumnType]) -> pa.Schema:
    fields = [pa.field(name, _TYPES[type_]) for name, type_ in columns.items()]
    return pa.schema([fields[0], pa.field(AUDIO, _AUDIO_TYPE), *fields[1:]])
