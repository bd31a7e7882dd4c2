"""A server as a process of its own on a free loopback port, for measurements and kills."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

_SERVE = ("serve", "--port", "0", "--preload")
_SLOW_IMPORTS = [
    "megaasr.cli.main",
    "megaasr.cli.serve",
    "megaasr.serve.http_server",
    "megaasr.serve.model_loading",
    "megaasr.model.loading",
    "transformers.models.qwen3_asr.modeling_qwen3_asr",
]
"""Modules that take the server seconds to import."""


class ServerProcess:
    """Runs `mega-asr serve` inside its context.

    Args:
        options: options of the command, but `--port`.
        log: file for its log.
        is_forked: fork a process that has imported the modules before, which starts in a fraction
            of the time; otherwise the command is run.

    Attributes:
        url: its address.
        pid: its process.
    """

    def __init__(self, options: Sequence[str], log: Path, *, is_forked: bool = False) -> None:
        start = _fork if is_forked else _run
        self._process, line = start([*_SERVE, *options], log)
        if not line.startswith("listening on "):
            self._process.wait()
            raise RuntimeError(f"the server did not start; its log is {log}")
        self.url = line.split()[-1]
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(120)

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self._process.kill()
        self._process.wait()

    def threads_and_files(self) -> tuple[int, int]:
        """Return its numbers of threads and of open files; Linux only."""
        folder = Path(f"/proc/{self.pid}")
        return len(list((folder / "task").iterdir())), len(list((folder / "fd").iterdir()))

    def cpu_s(self) -> float:
        """Return the seconds that it has run on any core; Linux only."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Return its resident memory; Linux only."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * 4096 / 1e6


class _ForkedProcess:
    """A forked server with the methods of `subprocess.Popen` that are used here."""

    def __init__(self, process: multiprocessing.process.BaseProcess) -> None:
        self._process = process
        self.pid = process.pid or 0
        self.kill, self.terminate = process.kill, process.terminate

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout_s: float | None = None) -> None:
        self._process.join(timeout_s)


def _run(arguments: Sequence[str], log: Path) -> tuple[subprocess.Popen[str] | _ForkedProcess, str]:
    """Run the command; return its process and the first line that it prints."""
    command = [sys.executable, "-m", "megaasr", *arguments]
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline()


def _fork(
    arguments: Sequence[str], log: Path
) -> tuple[subprocess.Popen[str] | _ForkedProcess, str]:
    """Fork a server; return its process and the first line that it prints."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_SLOW_IMPORTS)
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(arguments, log, writer))
    process.start()
    writer.close()
    with os.fdopen(os.dup(reader.fileno()), encoding="utf-8") as output:
        line = output.readline()
    reader.close()
    return _ForkedProcess(process), line


def _serve(arguments: list[str], log: Path, output: Connection) -> None:
    """Be the server: what it prints goes to the pipe and to the log."""
    from megaasr.cli.main import main

    sys.stdout = os.fdopen(os.dup(output.fileno()), "w", encoding="utf-8")
    sys.stderr = log.open("a", encoding="utf-8")
    main(arguments)
