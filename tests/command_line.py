"""`mega-asr` and Python code as a process would run them, but in this one.

A process of its own spends six seconds of CPU time on importing torch and transformers. Tests that
are about processes (signals, pipes, what is imported, an installed wheel) start a real one.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from megaasr.cli.main import main


def mega_asr(*arguments: object, cwd: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run `mega-asr` in the folder `cwd`; return its exit status and what it printed."""
    command = ["mega-asr", *map(str, arguments)]
    return _as_a_process(main, command, cwd, stdin)


def python(code: str, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run code as a module of its own in the folder `cwd`; return what it printed.

    Raises:
        Exception: what the code raises.
    """
    program = compile(code, "<example>", "exec")
    return _as_a_process(lambda: exec(program, {"__name__": "__main__"}), ["-c"], cwd, b"")


def _as_a_process(
    program: Callable[[], None], command: list[str], cwd: Path, stdin: bytes
) -> subprocess.CompletedProcess[str]:
    source, out, err = (io.TextIOWrapper(io.BytesIO(text), "utf-8") for text in (stdin, b"", b""))
    status: object = 0
    with (
        chdir(cwd),
        patch.object(sys, "argv", command),
        patch.object(sys, "stdin", source),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            program()
        except SystemExit as ended:
            status = ended.code or 0
    assert isinstance(status, int), status
    return subprocess.CompletedProcess(command, status, _text(out), _text(err))


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()
