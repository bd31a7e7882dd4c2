"""Runs `mega-asr` and Python code in this process, with the result that a child process would have.

A child process spends six seconds of CPU time on importing torch and transformers. Only tests about
processes (signals, pipes, imports, an installed wheel) start one.
"""

from __future__ import annotations

import io
import runpy
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from unittest.mock import patch

from megaasr.cli.main import main

TINY = ("--model", "tiny")
"""Arguments for the model that tests use, because it is fast."""


def mega_asr(*arguments: object, cwd: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run `mega-asr` in a folder, and return its exit status and output.

    Args:
        arguments: command-line arguments.
        cwd: working directory.
        stdin: content of standard input.
    """
    command = ["mega-asr", *map(str, arguments)]
    return _as_a_process(main, command, cwd, stdin)


def python(code: str, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run code as the main module in a folder, and return its output.

    Args:
        code: Python source.
        cwd: working directory.

    Raises:
        Exception: the exception that the code raises.
    """
    program = compile(code, "<example>", "exec")
    return _as_a_process(lambda: exec(program, {"__name__": "__main__"}), ["-c"], cwd, b"")


def script(path: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script with arguments, and return its exit status and output.

    Raises:
        Exception: the exception that the script raises.
    """
    command = [str(path), *map(str, arguments)]
    run = partial(runpy.run_path, str(path), run_name="__main__")
    return _as_a_process(run, command, Path.cwd(), b"")


def _as_a_process(
    program: Callable[[], object], command: list[str], cwd: Path, stdin: bytes
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
