"""The README's commands run, and its numbers are those of the result files."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from command_line import mega_asr, python
from megaasr.report.model_card import model_card
from megaasr.report.readme import fill, kept_as, page, section, sections

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
STREAMING = (ROOT / "docs" / "streaming.md").read_text(encoding="utf-8")
SIMULATION = (ROOT / "docs" / "simulation.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
TRAINING = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
ENGINES = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
CLIPS = ROOT / "src" / "megaasr" / "cli" / "demo_clips"
TINY = ROOT / "src" / "megaasr" / "model" / "shipped" / "tiny"


def commands(document: str = README) -> list[str]:
    """The commands that need no network."""
    blocks = re.findall(r"```sh\n(.*?)```", document, flags=re.DOTALL)
    joined = "\n".join(blocks).replace("\\\n", " ").splitlines()
    lines = [re.sub(r"\s+#.*", "", line).strip() for line in joined]
    hub = ("Qwen/", "zhifeixie/")
    needing_a_corpus = (
        "mega-asr grade",
        "mega-asr train",
        "mega-asr recipe",
    )  # tested on toys elsewhere
    return [
        line
        for line in lines
        if line.startswith("mega-asr")
        and not line.startswith(needing_a_corpus)
        and not any(owner in line for owner in hub)
    ]


def test_there_are_commands_to_test() -> None:
    assert len(commands()) >= 4


def test_the_readme_is_short_and_leads_to_the_paper() -> None:
    assert len(README.splitlines()) <= 150
    assert "https://arxiv.org/abs/2605.19833" in README


def inputs(folder: Path) -> None:
    """The files that the commands speak of."""
    import numpy as np
    import soundfile

    samples, rate = soundfile.read(CLIPS / "1-clean.flac")
    for name in ("a.wav", "talk.wav"):
        soundfile.write(folder / name, samples, rate)
    soundfile.write(folder / "call.wav", np.stack([samples, 0 * samples], axis=1), rate)
    shutil.copy(CLIPS / "2-clean.flac", folder / "b.flac")
    lines = [{"id": name, "audio": name, "text": "?"} for name in ("a.wav", "b.flac")]
    (folder / "clean.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "talks.csv").write_text("audio,text\na.wav,one two\nb.flac,three four\n")
    theirs = [
        {"audio": "a.wav", "text": "one two", "pred_text": "one"},
        {"audio": "b.flac", "text": "three four", "pred_text": "three for"},
    ]
    (folder / "theirs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in theirs))


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Do what a shell does with a command line of the documents."""
    words = shlex.split(command)
    stdin = b""
    if "<" in words:
        stdin = (folder / words.pop()).read_bytes()
        assert words.pop() == "<"
    assert words.pop(0) == "mega-asr"
    assert not set("".join(words)) & set("<>|&;*?$`~"), "write down what a shell makes of it"
    done = mega_asr(*words, cwd=folder, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("command", commands())
def test_every_command_runs(command: str, tmp_path: Path) -> None:
    inputs(tmp_path)
    if command.startswith("mega-asr report"):  # of the benchmark that the command before it made
        bench = next(line for line in commands() if line.startswith("mega-asr bench"))
        shell(bench, tmp_path)
    done = shell(command, tmp_path)
    output = re.search(r"-o (\S+)", command)
    if output:
        assert list((tmp_path / output[1]).glob("talk.*"))
    else:
        assert done.stdout.strip()


def test_the_simulation_page_runs_from_top_to_bottom(tmp_path: Path) -> None:
    inputs(tmp_path)
    for command in commands(SIMULATION):
        shell(command, tmp_path)
    assert (tmp_path / "same.flac").read_bytes() == (tmp_path / "bad.flac").read_bytes()
    blocks = re.findall(r"```python\n(.*?)```", SIMULATION, flags=re.DOTALL)
    assert "torch.float32" in python("\n".join(blocks), cwd=ROOT).stdout


def test_the_page_of_live_transcription_runs_from_top_to_bottom(tmp_path: Path) -> None:
    inputs(tmp_path)
    assert len(commands(STREAMING)) >= 3
    for command in commands(STREAMING):
        assert shell(command, tmp_path).stdout.strip()
    assert (tmp_path / "live" / "stream.json").is_file()
    (block,) = re.findall(r"```python\n(.*?)```", STREAMING, flags=re.DOTALL)
    python(block, cwd=tmp_path)


def test_the_python_example_runs(tmp_path: Path) -> None:
    inputs(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        assert " en " in python(block, cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("document", "name"),
    [(document, name) for document in (RESULTS, TRAINING, ENGINES) for name in sections(document)],
)
def test_the_numbers_are_the_results(document: str, name: str) -> None:
    assert fill(document, name, section(name, ROOT)) == document, "run: make readme"


def test_the_documents_have_all_results() -> None:
    kept = {path.stem for path in (ROOT / "docs" / "results").glob("*.json")}
    shown = [name for document in (RESULTS, TRAINING) for name in sections(document)]
    assert {"tiny", *kept} == {kept_as(name) for name in shown}


@pytest.mark.parametrize("kept", sorted((ROOT / "docs" / "results").glob("*.json")))
def test_a_report_stands_beside_each_result(kept: Path) -> None:
    assert kept.with_suffix(".html").read_text() == page(kept.stem, ROOT), "run: make readme"


def test_a_readme_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="tiny:start"):
        fill("# nothing here", "tiny", "")


def test_the_card_is_made_from_the_results() -> None:
    results = json.loads((TINY / "results.json").read_text())
    parts = json.loads((TINY / "parts.json").read_text())
    assert (TINY / "README.md").read_text() == model_card(results["facts"], results, parts)
    for folder, key in (("mega-asr-merged", "adapter"), ("audio_quality_router", "router")):
        (weights,) = (TINY / folder).glob("*.safetensors")
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        assert parts[key][f"{key}_sha256"] == digest, "run: mega-asr pack … --measured"


def test_links_lead_somewhere() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+?)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name}: {link}"
