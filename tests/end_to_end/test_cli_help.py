"""`mega-asr --help`: lists every command, imports nothing heavy, and fits into 80 columns."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

import megaasr
from megaasr.cli.main import COMMANDS, main

# Libraries for audio, arrays and models, which may be imported only once a command runs.
HEAVY = {
    *("accelerate", "cn2an", "matplotlib", "numpy", "opencc", "peft", "pyarrow", "rapidfuzz"),
    *("safetensors", "scipy", "silero_vad", "soundfile", "soxr", "torch", "transformers"),
    "whisper_normalizer",
}
# Runs `mega-asr` with the arguments on each line of stdin (JSON), and prints which heavy modules
# each call imported.
_PROGRAM = """
import io, json, sys
from contextlib import redirect_stdout
from megaasr.cli.main import main
heavy, imported = set(json.loads(sys.argv[1])), set()
for line in sys.stdin:
    with redirect_stdout(io.StringIO()) as output:
        try:
            main(json.loads(line))
        except SystemExit as ended:
            status = ended.code
    new = sorted(heavy & set(sys.modules) - imported)
    imported.update(new)
    print(json.dumps({"status": status, "output": output.getvalue(), "imports": new}))
"""


def imports_of(*calls: list[str], heavy: set[str]) -> dict[str, list[str]]:
    """Run `mega-asr` with the arguments of each call, all in one fresh process.

    Returns:
        For each call the modules in `heavy` that it imported, and no call before it.
    """
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, json.dumps(sorted(heavy))],
        input="".join(json.dumps(call) + "\n" for call in calls),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    for call, result in zip(calls, results, strict=True):
        assert not result["status"], call
        assert result["output"].strip(), call
    return {" ".join(call): result["imports"] for call, result in zip(calls, results, strict=True)}


def all_commands() -> Iterator[tuple[list[str], Any]]:
    """Yield the names and the command object of every command and subcommand."""
    for command in COMMANDS:
        loaded: Any = typer.main.get_command(import_module(command.module).app)
        yield [command.name], loaded
        for name, subcommand in getattr(loaded, "commands", {}).items():
            yield [command.name, name], subcommand


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(option: str) -> None:
    assert imports_of([option], heavy=HEAVY | {"pydantic"}) == {option: []}


def test_the_help_of_no_command_imports_anything_heavy() -> None:
    calls = [[*names, "--help"] for names, _ in all_commands()]
    assert len(calls) > len(COMMANDS)  # with subcommands
    imports = imports_of(*calls, heavy=HEAVY)
    assert {call: modules for call, modules in imports.items() if modules} == {}


def test_imports_are_noticed() -> None:
    # `main` always imports typer, and the command imports pydantic when it runs.
    imports = imports_of(["--help"], ["simulate", "scenarios"], heavy={"typer", "pydantic"})
    assert imports == {"--help": ["typer"], "simulate scenarios": ["pydantic"]}


def test_help_lists_every_command_in_its_panel() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "megaasr", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    panels = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("╭")]
    assert panels == ["Options", "Use", "Measure", "Data", "Train", "Package"]
    for command in COMMANDS:
        panel = done.stdout.split(f"╭─ {command.panel} ─")[1].split("╰")[0]
        assert f" {command.name} " in panel
        assert command.help in panel


def test_help_is_complete_in_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for names, command in all_commands():
        with pytest.raises(SystemExit):
            main([*names, "--help"])
        shown = capsys.readouterr().out
        assert max(map(len, shown.splitlines())) <= 80, names
        assert "…" not in shown, names
        for parameter in command.params:
            if not getattr(parameter, "hidden", False) and parameter.opts[0].startswith("-"):
                assert set(parameter.opts) <= set(shown.split()), names


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


@pytest.mark.parametrize("argument", ["talk.wav", "TALK.MP3", "a talk", "talks", "-"])
def test_a_recording_in_place_of_a_command_is_wrong_usage_with_a_hint(
    argument: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a talk").touch()
    Path("talks").mkdir()
    with pytest.raises(SystemExit) as ended:
        main([argument, "-f", "srt"])
    assert ended.value.code == 2
    quoted = "'a talk'" if " " in argument else argument
    assert f"run mega-asr transcribe {quoted} -f srt\n" in capsys.readouterr().err


def test_a_command_goes_before_a_folder_of_the_same_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("score").mkdir()
    with pytest.raises(SystemExit) as ended:
        main(["score", "--help"])
    assert ended.value.code == 0
    assert "Usage: mega-asr score" in capsys.readouterr().out


# Options that are no command's: of mega-asr itself, of torchrun, of modules that are run by
# `python -m`, and of the programs that these modules call.
FOREIGN_OPTIONS = {"--help", "--version", "--nproc-per-node", "--standalone"}
FOREIGN_MODULES = (
    *("corpora/human/", "packages.py", "report/readme.py", "synthesize/ipa.py"),
    *("synthesize/voices.py", "train/base/phonemes.py", "train/rl/reward_adapters.py"),
)
SOURCE = Path(megaasr.__file__).parent


def named_options() -> Iterator[tuple[str, str]]:
    """Yield (place, option) for every option that a text in the package names."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]", node.value):
                    yield f"{path.relative_to(SOURCE)}:{node.lineno}", option


def test_texts_name_only_options_that_exist() -> None:
    options = {
        option
        for _, command in all_commands()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    named = list(named_options())
    assert len(named) > 100
    unknown = [entry for entry in named if entry[1] not in options | FOREIGN_OPTIONS]
    assert [entry for entry in unknown if not entry[0].startswith(FOREIGN_MODULES)] == []


def test_the_options_of_transcribe_in_its_own_texts_are_its_own() -> None:
    options = {
        option
        for names, command in all_commands()
        if names == ["transcribe"]
        for parameter in command.params
        for option in parameter.opts
    }
    prefixes = (
        *("cli/transcribe.py", "cli/transcription_run.py", "cli/whisper_options.py"),
        *("cli/speech_arguments.py", "cli/output_arguments.py", "cli/reliability_arguments.py"),
        *("cli/screen.py", "transcribe/"),
    )
    named = [entry for entry in named_options() if entry[0].startswith(prefixes)]
    assert named
    # Those of `ffmpeg -ss` have one dash, so that they do not count.
    assert [entry for entry in named if entry[1] not in options] == []
