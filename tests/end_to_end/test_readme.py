"""The README's commands run, and its numbers are those of the result files."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from megaasr.report.model_card import model_card
from megaasr.report.readme import fill_readme

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CLIPS = ROOT / "src" / "megaasr" / "cli" / "demo_clips"
TINY = ROOT / "src" / "megaasr" / "model" / "shipped" / "tiny"


def commands() -> list[str]:
    """The transcribe commands that need no network."""
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    joined = "\n".join(blocks).replace("\\\n", " ").splitlines()
    lines = [re.sub(r"\s+#.*", "", line).strip() for line in joined]
    return [line for line in lines if line.startswith("mega-asr") and "Qwen/" not in line]


def test_there_are_commands_to_test() -> None:
    assert len(commands()) >= 4


@pytest.mark.parametrize("command", commands())
def test_every_command_runs(command: str, tmp_path: Path) -> None:
    import soundfile

    samples, rate = soundfile.read(CLIPS / "1-clean.flac")
    for name in ("a.wav", "talk.wav"):
        soundfile.write(tmp_path / name, samples, rate)
    shutil.copy(CLIPS / "2-clean.flac", tmp_path / "b.flac")
    shell = command.replace("mega-asr", f"{sys.executable} -m megaasr", 1)
    done = subprocess.run(
        shell,
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    output = re.search(r"-o (\S+)", command)
    if output:
        assert list((tmp_path / output[1]).glob("talk.*"))
    else:
        assert done.stdout.strip()


def test_the_python_example_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        done = subprocess.run(
            [sys.executable, "-c", block],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert " en " in done.stdout


def test_the_numbers_are_the_results() -> None:
    results = json.loads((TINY / "results.json").read_text())
    assert fill_readme(README, results) == README, "run: make readme"


def test_a_readme_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="tiny:start"):
        fill_readme("# nothing here", {})


def test_the_card_is_made_from_the_results() -> None:
    results = json.loads((TINY / "results.json").read_text())
    assert (TINY / "README.md").read_text() == model_card(results["facts"], results)


def test_links_lead_somewhere() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+?)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name}: {link}"
