"""A server as a process of its own on a free loopback port, for measurements and kills."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self


class ServerProcess:
    """Runs `mega-asr serve` inside its context.

    Args:
        options: options of the command, but `--port`.
        log: file for its log.

    Attributes:
        url: its address.
        pid: its process.
    """

    def __init__(self, options: Sequence[str], log: Path) -> None:
        command = [sys.executable, "-m", "megaasr", "serve", "--port", "0", "--preload", *options]
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=file, text=True
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
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
