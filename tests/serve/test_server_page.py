"""docs/server.md: its commands and programs run, and its table of settings is that of the code."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import soundfile
import typer

from command_line import python
from megaasr.cli.serve import app
from megaasr.serve.settings import ServerSettings, settings_table
from running_server import CLIPS

if TYPE_CHECKING:
    from megaasr.serve.http_server import HttpServer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
TEXT = "There are fifty-six monkeys near the nightclub."
DEFAULT_URL = "http://127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    from running_server import running

    data_dir = tmp_path_factory.mktemp("data")
    with running(data_dir=data_dir, cors_origins="*") as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    samples, rate = soundfile.read(CLIPS / "1-clean.flac", dtype="int16")
    soundfile.write(tmp_path / "talk.wav", samples, rate)
    return tmp_path


def test_the_page_has_programs_of_every_kind() -> None:
    assert all(blocks(language) for language in ("sh", "python", "js", "html", "text"))


@pytest.mark.parametrize("block", blocks("sh"))
def test_the_commands_run(block: str, page_server: HttpServer, folder: Path) -> None:
    script = block.replace(DEFAULT_URL, page_server.url)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "monkeys" in done.stdout
    assert '"error":' not in done.stdout


@pytest.mark.parametrize("block", blocks("python"))
def test_the_python_programs_run(block: str, page_server: HttpServer, folder: Path) -> None:
    pytest.importorskip("openai", reason="the official client is not installed")
    output = python(block.replace(DEFAULT_URL, page_server.url), cwd=folder).stdout
    assert TEXT in output


def test_the_javascript_runs(page_server: HttpServer, folder: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    (script,) = blocks("js")
    (folder / "program.mjs").write_text(script.replace(DEFAULT_URL, page_server.url))
    done = subprocess.run(
        [node, "program.mjs"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == TEXT


def test_the_table_of_settings_is_complete() -> None:
    table = PAGE.split("<!-- settings:start -->")[1].split("<!-- settings:end -->")[0]
    assert table.strip() == settings_table(), "put the output of settings_table() there"


def option_names() -> set[str]:
    command: Any = typer.main.get_command(app)
    return {option for parameter in command.params for option in parameter.opts}


def test_the_unit_starts_a_command_that_exists() -> None:
    unit = (ROOT / "deploy" / "mega-asr.service").read_text(encoding="utf-8")
    (line,) = re.findall(r"^ExecStart=(.*)$", unit, flags=re.MULTILINE)
    program, command, *options = line.split()
    assert (Path(program).name, command) == ("mega-asr", "serve")
    assert {option for option in options if option.startswith("--")} <= option_names()
    seconds = int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, flags=re.MULTILINE)[0])
    assert seconds > ServerSettings.model_fields["shutdown_s"].default
    analyze = shutil.which("systemd-analyze")
    if analyze is not None:
        path = str(ROOT / "deploy" / "mega-asr.service")
        done = subprocess.run(
            [analyze, "verify", path], capture_output=True, text=True, check=False
        )
        faults = [line for line in done.stderr.splitlines() if "mega-asr.service:" in line]
        assert [fault for fault in faults if "is not executable" not in fault] == []


def test_the_image_runs_the_server_without_root() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^USER megaasr$", dockerfile, flags=re.MULTILINE)
    assert 'ENTRYPOINT ["mega-asr", "serve"]' in dockerfile
    assert "/health/ready" in dockerfile
    variables = re.findall(r"MEGA_ASR_(\w+)=", dockerfile)
    assert variables
    assert {name.lower() for name in variables} <= set(ServerSettings.model_fields)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (torch,) = re.findall(r"^ARG TORCH=(.*)$", dockerfile, flags=re.MULTILINE)
    assert f"torch=={torch}" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert ".[serve]" in dockerfile
    assert "serve" in project["optional-dependencies"]


def test_what_is_ignored_for_the_image_leaves_its_sources() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, flags=re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert f"!{source}" in ignored
        assert (ROOT / source).exists()
