"""Run fresh processes and measure the time that each of them takes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import ROOT, BenchmarkError


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that succeeded.

    Attributes:
        wall_s: wall time in seconds, including starting and ending the process.
        cpu_s: user and system time in seconds, including child processes that it waited for.
        output: standard output of the process.
    """

    wall_s: float
    cpu_s: float
    output: str

    def report(self) -> dict[str, Any]:
        """Return the JSON object that a program of `benchmarks.children` printed last."""
        report: dict[str, Any] = json.loads(self.output.strip().splitlines()[-1])
        return report


def run_process(command: Sequence[str], variables: Mapping[str, str] | None = None) -> Finished:
    """Run a command in the repository's folder; its stderr is shown.

    Args:
        command: program and arguments.
        variables: environment variables that differ from those of this process.

    Raises:
        BenchmarkError: if it fails.
    """
    # Byte code may be kept between runs, as for installed packages.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= variables or {}
    start = time.perf_counter()
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, ended, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(ended)
    if status := process.returncode:
        raise BenchmarkError(f"exit status {status} from: {shlex.join(command)}")
    return Finished(wall_s, usage.ru_utime + usage.ru_stime, output)


def child(program: str, *arguments: object) -> list[str]:
    """Return the command that runs a program of `benchmarks.children`."""
    return [sys.executable, "-m", f"benchmarks.children.{program}", *map(str, arguments)]
