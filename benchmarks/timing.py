"""Wall and CPU time of jobs, run in turn, so that a slow minute affects all of them equally."""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Runs:
    """The repeated runs of one job.

    Attributes:
        wall_s: wall time of each run in seconds.
        cpu_s: CPU time of each run in seconds, all cores together.
    """

    wall_s: Sequence[float]
    cpu_s: Sequence[float]

    @property
    def wall(self) -> float:
        """Median of the wall times."""
        return statistics.median(self.wall_s)

    @property
    def cpu(self) -> float:
        """Median of the CPU times."""
        return statistics.median(self.cpu_s)

    def fields(self) -> dict[str, Any]:
        """Return the runs for the JSON file."""
        return {
            "wall_s": round(self.wall, 5),
            "cpu_s": round(self.cpu, 5),
            "wall_s_runs": [round(seconds, 5) for seconds in self.wall_s],
            "cpu_s_runs": [round(seconds, 5) for seconds in self.cpu_s],
        }


def in_turn(jobs: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Runs]:
    """Run every job once to warm up, then all of them in turn, `repeats` times."""
    for job in jobs.values():
        job()
    wall: dict[str, list[float]] = {name: [] for name in jobs}
    cpu: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            gc.collect()  # so that no job collects the garbage of another
            cpu_start, start = time.process_time(), time.perf_counter()
            job()
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - cpu_start)
    return {name: Runs(wall[name], cpu[name]) for name in jobs}


def say(message: str) -> None:
    """Report progress, on stderr."""
    print(message, file=sys.stderr, flush=True)
