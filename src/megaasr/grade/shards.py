"""The shards of a grading run: their assignment to processes, their state, and the final listing.

The folder is all that processes and machines share. The part file of a shard
(`parts/NNNNN.jsonl`) is written atomically and marks the shard as finished, so that a run can be
killed at any moment and resumes with the shards that have no part file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megaasr import strict_json
from megaasr.atomic import atomic_file, write_atomically
from megaasr.errors import RecordError, UsageError
from megaasr.folder_claim import FolderClaim
from megaasr.records import Utterance

GRADED_FILE, ERRORS_FILE, CLAIM_FILE = "graded.jsonl", "errors.jsonl", "grade.json"
_PARTS = "parts"


@dataclass(frozen=True, slots=True)
class ShardAssignment:
    """The shards of a process: those whose number modulo `world` is `rank`.

    Attributes:
        rank: number of the process, from 0.
        world: number of processes.

    Raises:
        UsageError: the rank is not in 0..world - 1.
    """

    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise UsageError(f"process {self.rank} of {self.world}: count from 0")


def assignment_from_environment(environment: Mapping[str, str]) -> ShardAssignment:
    """Return the assignment set by torchrun or a SLURM job array; without either, all shards.

    Args:
        environment: environment variables.
    """
    for rank, world, first in (
        ("RANK", "WORLD_SIZE", None),
        ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"),
    ):
        if rank in environment and world in environment:
            offset = int(environment.get(first, "0")) if first else 0
            return ShardAssignment(int(environment[rank]) - offset, int(environment[world]))
    return ShardAssignment()


class GradeFolder:
    """The folder of a grading run.

    Args:
        folder: path of the folder; it is created if necessary.
        identity: everything that the grades depend on: model, manifest, shard size.
        count: number of shards.

    Raises:
        UsageError: the folder holds other grades.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], count: int) -> None:
        self.folder = folder
        self.count = count
        (folder / _PARTS).mkdir(parents=True, exist_ok=True)
        claim = FolderClaim(folder, CLAIM_FILE, "holds other grades")
        claim.claim(strict_json.dumps(identity, indent=1) + "\n")

    def unfinished(self, assignment: ShardAssignment) -> list[int]:
        """Return the numbers of a process's shards that are not finished."""
        assigned = range(assignment.rank, self.count, assignment.world)
        return [number for number in assigned if not self._part(number).is_file()]

    def shard_name(self, number: int) -> str:
        """Return the file name of the Parquet file of a shard."""
        return f"graded-{number:05d}-of-{self.count:05d}.parquet"

    def finish_shard(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the part file that marks a shard as finished.

        Args:
            number: number of the shard.
            rows: records of its clips; clips that failed have an `error`.
        """
        write_atomically(self._part(number), "".join(map(_line, rows)))

    def finish(self) -> bool:
        """Write the listing and the errors if all shards are finished; return whether they are."""
        if not all(self._part(number).is_file() for number in range(self.count)):
            return False
        with (
            atomic_file(self.folder / GRADED_FILE) as graded,
            atomic_file(self.folder / ERRORS_FILE) as errors,
        ):
            for row in self.rows():
                (errors if "error" in row else graded).write(_line(row).encode())
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
    """Return the path of a clip's audio relative to `folder`.

    Args:
        utterance: the clip.
        manifest: path of the manifest that lists it.
        folder: folder that the path is relative to.
    """
    return Path(os.path.relpath(manifest.parent / utterance.audio, folder)).as_posix()


def require_unique(utterances: Sequence[Utterance], manifest: Path) -> None:
    """Check that no id occurs twice.

    Raises:
        RecordError: an id occurs twice; the message names it.
    """
    seen: set[str] = set()
    for utterance in utterances:
        if utterance.id in seen:
            raise RecordError(f"{manifest}: the id {utterance.id} occurs twice")
        seen.add(utterance.id)


def _line(row: Mapping[str, Any]) -> str:
    return strict_json.dumps(row, ensure_ascii=False) + "\n"
