"""`mega-asr --help` and its like: every command is named, and nothing heavy is imported for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from megaasr.cli.main import COMMANDS, main

# What only a command that runs may bring: libraries of sound, arrays and models.
HEAVY = {
    *("accelerate", "cn2an", "matplotlib", "numpy", "opencc", "peft", "pyarrow", "rapidfuzz"),
    *("safetensors", "scipy", "silero_vad", "soundfile", "soxr", "torch", "transformers"),
    "whisper_normalizer",
}
# Arguments of `mega-asr`, a line of JSON each; after each, the heavy modules that it brought.
_IMPORTS = """
import io, json, sys
from contextlib import redirect_stdout
from megaasr.cli.main import main
heavy, imported = set(json.loads(sys.argv[1])), set()
for line in sys.stdin:
    with redirect_stdout(io.StringIO()) as shown:
        try:
            main(json.loads(line))
        except SystemExit as ended:
            status = ended.code
    brought = sorted(heavy & set(sys.modules) - imported)
    imported.update(brought)
    print(json.dumps({"status": status, "shown": shown.getvalue(), "brought": brought}))
"""


def brought_by(*calls: list[str], heavy: set[str]) -> dict[str, list[str]]:
    """Run `mega-asr` with the arguments of each call, all in one fresh process.

    Returns:
        What each call imported of `heavy` that no call before it had imported.
    """
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS, json.dumps(sorted(heavy))],
        input="".join(json.dumps(call) + "\n" for call in calls),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    for call, result in zip(calls, results, strict=True):
        assert not result["status"], call
        assert result["shown"].strip(), call
    return {" ".join(call): result["brought"] for call, result in zip(calls, results, strict=True)}


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(option: str) -> None:
    assert brought_by([option], heavy=HEAVY | {"pydantic"}) == {option: []}


def test_the_help_of_no_command_imports_anything_heavy() -> None:
    groups = [["simulate", "corpus"], ["train", "sft"], ["train", "rl"]]
    calls = [[*names, "--help"] for names in [*([c.name] for c in COMMANDS), *groups]]
    brought = brought_by(*calls, heavy=HEAVY)
    assert {call: names for call, names in brought.items() if names} == {}


def test_what_is_imported_is_noticed() -> None:
    # The first for certain when `main` is, the second by the command.
    brought = brought_by(["--help"], ["simulate", "scenarios"], heavy={"typer", "pydantic"})
    assert brought == {"--help": ["typer"], "simulate scenarios": ["pydantic"]}


def test_help_names_every_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "megaasr", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    for command in COMMANDS:
        assert command.name in done.stdout
        assert command.help in done.stdout


def test_every_command_can_be_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            main([command.name, "--help"])
        assert ended.value.code == 0
        assert f"mega-asr {command.name}" in capsys.readouterr().out


def test_an_unknown_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["transcrib"])
    assert ended.value.code == 2
    assert "transcribe" in capsys.readouterr().err  # suggested
