"""`simulated.jsonl` and `errors.jsonl`: what is in the shards, and what is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from megaasr.atomic import atomic_file, write_atomically
from megaasr.simulate.corpus.columns import AUDIO
from megaasr.simulate.corpus.shards import BrokenSource, read_rows

LISTING_FILE = "simulated.jsonl"
ERRORS_FILE = "errors.jsonl"


def write_listing(
    output: Path, shards: Iterable[str], on_row: Callable[[dict[str, object]], None]
) -> None:
    """Write the manifest of a finished data set, every column but the sound.

    Args:
        output: the data set's folder.
        shards: their file names, in order.
        on_row: told of each record.

    Raises:
        RecordError: a shard cannot be read.
        OSError: the system does not let us write.
    """
    with atomic_file(output / LISTING_FILE) as lines:
        for shard in shards:
            for number, row in enumerate(read_rows(output / shard, audio=False)):
                place = {AUDIO: f"{shard}#{number}", "shard": shard, "row": number}
                record = {"id": row["id"], **place, **row}
                lines.write((json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8"))
                on_row(record)


class ErrorLog:
    """Sources that cannot be used, a line each, however many clips or sittings meet them."""

    def __init__(self, output: Path) -> None:
        self._path = output / ERRORS_FILE
        self._seen: dict[str, BrokenSource] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def start(self, known: Iterable[BrokenSource]) -> None:
        """Begin the file anew, with what finished shards know; it is always written.

        Raises:
            OSError: the system does not let us write.
        """
        self._seen = {}
        for one in known:
            self._seen.setdefault(one.id, one)
        write_atomically(self._path, "".join(map(_line, self._seen.values())))

    def add(self, broken: Iterable[BrokenSource]) -> None:
        """Append what is new.

        Raises:
            OSError: the system does not let us write.
        """
        new = {one.id: one for one in broken if one.id not in self._seen}
        if new:
            self._seen |= new
            with self._path.open("a", encoding="utf-8") as lines:
                lines.write("".join(map(_line, new.values())))


def _line(broken: BrokenSource) -> str:
    return json.dumps(asdict(broken), ensure_ascii=False) + "\n"
