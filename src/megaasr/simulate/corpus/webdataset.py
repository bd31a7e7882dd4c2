"""Export a data set as WebDataset: tar files with an audio file and a record per clip."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from megaasr import strict_json
from megaasr.atomic import atomic_file, remove_leftovers
from megaasr.errors import CorpusError, UsageError
from megaasr.folder_claim import FolderClaim, locked_folder
from megaasr.hashing import file_sha256
from megaasr.progress import OnProgress
from megaasr.simulate.corpus.columns import AUDIO
from megaasr.simulate.corpus.listing import LISTING_FILE
from megaasr.simulate.corpus.shards import read_rows

EXPORT_FILE = "export.json"


def export_webdataset(
    corpus: Path,
    output: Path,
    *,
    shard_size: int = 1000,
    on_progress: OnProgress = lambda done, total: None,
) -> int:
    """Write tar files of `KEY.flac` (or .wav) and `KEY.json`, with clips in their original order.

    A tar file appears when it is complete, and always has the same bytes; an interrupted export
    resumes with the next one.

    Args:
        corpus: folder of a finished data set.
        output: folder of the tar files, which are named `train-000000.tar` and so on.
        shard_size: clips per tar file, at least 1.
        on_progress: called with the number of exported clips and the total number.

    Returns:
        The number of tar files.

    Raises:
        UsageError: the data set is not finished, or `output` holds another export.
        RecordError: a shard cannot be read.
        CorpusError: another export is at work in `output`.
        OSError: a file cannot be written.
    """
    if shard_size < 1:
        raise UsageError(f"shard_size must be at least 1, got {shard_size}")
    shards = _shards(corpus)
    clips = sum(shards.values())
    output.mkdir(parents=True, exist_ok=True)
    with locked_folder(output, CorpusError):
        _claim(output, corpus, shard_size)
        remove_leftovers(output)
        split = next(iter(shards), "train").split("-", 1)[0]
        firsts = range(0, clips, shard_size)
        for number, first in enumerate(firsts):
            tar = output / f"{split}-{number:06d}.tar"
            last = min(first + shard_size, clips)
            if not tar.exists():
                _write_tar(tar, _rows(corpus, shards, first, last))
            on_progress(last, clips)
    return len(firsts)


def _shards(corpus: Path) -> dict[str, int]:
    """Return the number of rows in each shard, in order, from the manifest of the data set."""
    shards: dict[str, int] = {}
    try:
        with (corpus / LISTING_FILE).open(encoding="utf-8") as lines:
            for line in lines:
                shard = json.loads(line)["shard"]
                shards[shard] = shards.get(shard, 0) + 1
    except FileNotFoundError as error:
        raise UsageError(
            f"{corpus}: no {LISTING_FILE} there, so it is not a finished data set; run `mega-asr "
            "simulate corpus` to its end first"
        ) from error
    return shards


def _claim(output: Path, corpus: Path, shard_size: int) -> None:
    """Claim the folder for an export, see `FolderClaim`."""
    inputs = {"listing_sha256": file_sha256(corpus / LISTING_FILE), "shard_size": shard_size}
    mismatch = "holds an export of another data set, or with another shard_size"
    claim = FolderClaim(output, EXPORT_FILE, mismatch, outputs="*.tar")
    claim.claim(strict_json.dumps(inputs, indent=2) + "\n")


def _rows(corpus: Path, shards: dict[str, int], first: int, last: int) -> Iterator[dict[str, Any]]:
    """Yield the rows from number `first` up to, but not including, `last`."""
    for shard, count in shards.items():
        if first < count and last > 0:
            yield from islice(read_rows(corpus / shard, audio=True), max(0, first), max(0, last))
        first, last = first - count, last - count


def _write_tar(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with (
        atomic_file(path) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for row in rows:
            audio = row.pop(AUDIO)
            _add(tar, audio["path"], audio["bytes"])
            record = strict_json.dumps(row, ensure_ascii=False)
            _add(tar, f"{audio['path'].rpartition('.')[0]}.json", record.encode("utf-8"))


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file, with a header that does not depend on time, place or user."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
