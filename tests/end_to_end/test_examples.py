"""The scripts in examples/ run, and stay short."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from command_line import script

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
CLIPS = ROOT / "src" / "megaasr" / "cli" / "demo_clips"
MAX_LINES = 40


def run(name: str, *arguments: str | Path) -> str:
    done = script(ROOT / "examples" / name, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_five_short_scripts() -> None:
    assert len(EXAMPLES) == 5
    for path in EXAMPLES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES, path.name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("1-clean", "1-obstructed"):
        shutil.copy(CLIPS / f"{name}.flac", tmp_path)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    return tmp_path


def test_a_folder_is_transcribed(folder: Path) -> None:
    output = run("transcribe_folder.py", folder)
    assert "1-clean.flac: There are" in output
    assert "-->" in (folder / "1-clean.srt").read_text()
    assert not (folder / "broken.srt").exists()


def test_branches_are_compared(folder: Path) -> None:
    lines = run("route_and_compare.py", folder / "1-obstructed.flac").splitlines()
    assert "P(degraded) 0.9" in lines[0]
    assert [line.split(":")[0] for line in lines[1:]] == ["base", "robust"]


def test_clips_are_degraded(tmp_path: Path) -> None:
    run("simulate_dataset.py", tmp_path / "out", CLIPS / "1-clean.flac")
    lines = (tmp_path / "out" / "draws.jsonl").read_text().splitlines()
    assert len(lines) == 4
    assert all((tmp_path / "out" / json.loads(line)["audio"]).exists() for line in lines)


def test_systems_are_scored(folder: Path) -> None:
    text = "There are fifty-six monkeys near the nightclub."
    rows = [f"{name}.flac,{text}\n" for name in ("1-clean", "1-obstructed")]
    (folder / "table.csv").write_text("audio,text\n" + "".join(rows))
    output = run("score_systems.py", folder / "table.csv")
    assert "base: " in output
    assert "% of 16 words wrong" in output


def test_an_adapter_is_trained(folder: Path, tmp_path: Path) -> None:
    lines = [
        {
            "id": name,
            "audio": f"{name}.flac",
            "text": "There are fifty-six monkeys.",
            "language": "en",
        }
        for name in ("1-clean", "1-obstructed")
    ]
    manifest = folder / "clips.jsonl"
    rows = [json.dumps(line | {"duration_s": 3.3}) + "\n" for line in lines]
    manifest.write_text("".join(rows))
    output = run("train_adapter.py", manifest, tmp_path / "run")
    assert "hypothesis: " in output
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").exists()
