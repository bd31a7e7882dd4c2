"""`simulated.jsonl`, the manifest of a data set, and `errors.jsonl`, the sources left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from megaasr import strict_json
from megaasr.atomic import atomic_file, write_atomically
from megaasr.simulate.corpus.columns import AUDIO
from megaasr.simulate.corpus.shards import NO_EFFECT, BrokenSource, read_rows

LISTING_FILE = "simulated.jsonl"
ERRORS_FILE = "errors.jsonl"


def write_listing(
    output: Path, shards: Iterable[str], on_row: Callable[[dict[str, object]], None]
) -> None:
    """Write the manifest of a finished data set, with all columns except the audio.

    Args:
        output: folder of the data set.
        shards: file names of the shards, in order.
        on_row: called with each record.

    Raises:
        RecordError: a shard cannot be read.
        OSError: the file cannot be written.
    """
    with atomic_file(output / LISTING_FILE) as lines:
        for shard in shards:
            for number, row in enumerate(read_rows(output / shard, audio=False)):
                location = {AUDIO: f"{shard}#{number}", "shard": shard, "row": number}
                record = {"id": row["id"], **location, **row}
                lines.write((strict_json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8"))
                on_row(record)


class ErrorLog:
    """The log of sources that cannot be used, with one line per source in all runs together."""

    def __init__(self, output: Path) -> None:
        self._path = output / ERRORS_FILE
        self._seen: dict[str, BrokenSource] = {}

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def clips_without_effect(self) -> int:
        """Number of single clips that were left out, because their degradation has no effect."""
        return sum(broken.reason.startswith(NO_EFFECT) for broken in self._seen.values())

    def rewrite(self, broken: Iterable[BrokenSource]) -> None:
        """Write the file anew with these sources, even if there are none.

        Raises:
            OSError: the file cannot be written.
        """
        self._seen = {}
        for source in broken:
            self._seen.setdefault(source.id, source)
        write_atomically(self._path, "".join(map(_line, self._seen.values())))

    def add(self, broken: Iterable[BrokenSource]) -> None:
        """Append the sources that are not in the log yet.

        Raises:
            OSError: the file cannot be written.
        """
        new = {source.id: source for source in broken if source.id not in self._seen}
        if new:
            self._seen |= new
            with self._path.open("a", encoding="utf-8") as lines:
                lines.write("".join(map(_line, new.values())))


def _line(broken: BrokenSource) -> str:
    return strict_json.dumps(asdict(broken), ensure_ascii=False) + "\n"
