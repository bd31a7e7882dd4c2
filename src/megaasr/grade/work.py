"""The work of grading in shards: who does which, what is done, and the listing at the end.

The folder is all that processes and machines share. A shard's part file (`parts/NNNNN.jsonl`)
appears whole or not at all, and is the mark that the shard is done; so a run may be killed at any
moment, and goes on with the shards that have no part.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megaasr.atomic import atomic_file, write_atomically
from megaasr.errors import RecordError, UsageError
from megaasr.folder_claim import FolderClaim
from megaasr.records import Utterance

GRADED_FILE, ERRORS_FILE, CLAIM_FILE = "graded.jsonl", "errors.jsonl", "grade.json"
_PARTS = "parts"


@dataclass(frozen=True, slots=True)
class Share:
    """Which shards a process does: those whose number leaves `rank` when divided by `world`."""

    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise UsageError(f"process {self.rank} of {self.world}: count from 0")


def share_from_environment(environment: Mapping[str, str]) -> Share:
    """Read the share off torchrun's variables, or those of a SLURM job array; else all shards."""
    for rank, world, first in (
        ("RANK", "WORLD_SIZE", None),
        ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"),
    ):
        if rank in environment and world in environment:
            offset = int(environment.get(first, "0")) if first else 0
            return Share(int(environment[rank]) - offset, int(environment[world]))
    return Share()


class GradeFolder:
    """The folder that a data set is graded in.

    Args:
        folder: made if it does not exist.
        identity: what decides about the grades: model, manifest, shard size.
        count: how many shards there are.

    Raises:
        UsageError: it holds grades of something else.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], count: int) -> None:
        self.folder = folder
        self.count = count
        (folder / _PARTS).mkdir(parents=True, exist_ok=True)
        claim = FolderClaim(folder, CLAIM_FILE, "holds other grades")
        claim.claim(json.dumps(identity, indent=1) + "\n")

    def waiting(self, share: Share) -> list[int]:
        """Return the numbers of a process's shards that are not done."""
        mine = range(share.rank, self.count, share.world)
        return [number for number in mine if not self._part(number).is_file()]

    def shard_name(self, number: int) -> str:
        """Return the name of a shard's Parquet file."""
        return f"graded-{number:05d}-of-{self.count:05d}.parquet"

    def finish_shard(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a shard's part: it is done. Rows with an `error` are clips that failed."""
        write_atomically(self._part(number), "".join(map(_line, rows)))

    def finish(self) -> bool:
        """Write the listing and the errors if every shard is done; return whether it is."""
        if not all(self._part(number).is_file() for number in range(self.count)):
            return False
        with (
            atomic_file(self.folder / GRADED_FILE) as good,
            atomic_file(self.folder / ERRORS_FILE) as bad,
        ):
            for row in self.rows():
                (bad if "error" in row else good).write(_line(row).encode())
        return True

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the records of all finished shards, in order."""
        for number in range(self.count):
            if self._part(number).is_file():
                with self._part(number).open(encoding="utf-8") as lines:
                    yield from map(json.loads, lines)

    def _part(self, number: int) -> Path:
        return self.folder / _PARTS / f"{number:05d}.jsonl"


def relative_audio(utterance: Utterance, manifest: Path, folder: Path) -> str:
    """Return where a clip of a manifest is, from another folder."""
    return Path(os.path.relpath(manifest.parent / utterance.audio, folder)).as_posix()


def require_unique(utterances: Sequence[Utterance], manifest: Path) -> None:
    """Raise if an id occurs twice.

    Raises:
        RecordError: naming the id.
    """
    seen: set[str] = set()
    for one in utterances:
        if one.id in seen:
            raise RecordError(f"{manifest}: the id {one.id} occurs twice")
        seen.add(one.id)


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
