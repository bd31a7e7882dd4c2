"""Fresh processes, and what each of them used."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import ROOT, BenchmarkError


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that ended well.

    Attributes:
        wall_s: from before its start to after its end.
        cpu_s: user and system time, of itself and the children it waited for.
        output: what it printed.
    """

    wall_s: float
    cpu_s: float
    output: str

    def answer(self) -> dict[str, Any]:
        """Return the JSON object that a program of `benchmarks.children` printed last."""
        found: dict[str, Any] = json.loads(self.output.strip().splitlines()[-1])
        return found


def run_process(command: Sequence[str]) -> Finished:
    """Run a command in the repository's folder; its stderr is shown.

    Raises:
        BenchmarkError: if it fails.
    """
    # As installed packages do, the commands may keep their byte code between runs.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
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
