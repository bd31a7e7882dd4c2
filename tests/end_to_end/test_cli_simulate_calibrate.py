"""`mega-asr simulate calibrate` with a real recogniser."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import pytest

from megaasr.cli.main import main

CLIPS = Path(str(resources.files("megaasr.cli"))) / "demo_clips"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clean clips of the demo."""
    rows = [json.loads(line) for line in (CLIPS / "clips.jsonl").read_text().splitlines()]
    clean = [row for row in rows if row["id"].endswith("clean")]
    path = tmp_path_factory.mktemp("clean") / "clean.jsonl"
    lines = [json.dumps({**row, "audio": str(CLIPS / row["audio"])}) for row in clean]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def calibrate(manifest: Path, output: Path, *more: str) -> int:
    options: Sequence[str] = (
        "--system", "tiny@base", "--language", "en", "--clips", "1", "--check-clips", "2",
        "--scenario", "distortion+noise", "-o", str(output),
    )  # fmt: skip
    try:
        main(["simulate", "calibrate", str(manifest), *options, *more])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.mark.slow
def test_a_compound_is_fitted_and_checked(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(manifest, tmp_path, "--literal") == 0
    assert "calibrated: singles" in capsys.readouterr().out
    table = json.loads((tmp_path / "compound_positions.json").read_text())
    low, middle, high = table["scenarios"]["distortion+noise"]
    assert -1 <= low < middle < high <= 0.7
    report = json.loads((tmp_path / "calibration.json").read_text())
    assert [row["scenario"] for row in report["calibrated"]["rows"]] == [
        "clean", *["distortion"] * 3, *["noise"] * 3, *["distortion+noise"] * 3,
    ]  # fmt: skip
    positions = [row["position"] for row in report["literal"]["rows"][-3:]]
    assert positions == [0.2, 0.5, 0.8]
    assert report["provenance"]["system"]["kind"] == "megaasr"
    measured = (tmp_path / "cells.jsonl").read_text()
    # A second run finds every cell.
    assert calibrate(manifest, tmp_path, "--literal") == 0
    assert (tmp_path / "cells.jsonl").read_text() == measured


@pytest.mark.slow  # minutes of CPU time
def test_two_processes_measure_the_same(manifest: Path, tmp_path: Path) -> None:
    """Rounds of one cell run in the calling process, which must not hinder the next round."""
    calibrate(manifest, tmp_path / "one")
    calibrate(manifest, tmp_path / "two", "--workers", "2")
    reports = [
        json.loads((tmp_path / name / "calibration.json").read_text()) for name in ("one", "two")
    ]
    assert reports[0]["calibrated"] == reports[1]["calibrated"]


def test_too_few_clips_and_another_folder_are_refused(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(manifest, tmp_path / "a", "--clips", "50") != 0
    assert "fewer than the 52" in capsys.readouterr().err
    assert calibrate(manifest, tmp_path / "a", "--speaker", "nobody") != 0
    assert not (tmp_path / "a").exists()


def test_a_folder_of_other_clips_is_refused(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    speakers = ["a" if number % 2 else "b" for number in range(len(rows))]
    copies = {}
    for folder, repeats in (("one", 2), ("two", 3)):
        lines = [
            json.dumps({**row, "id": f"{folder}-{copy}-{row['id']}", "speaker": speaker})
            for copy in range(repeats)
            for row, speaker in zip(rows, speakers, strict=True)
        ]
        copies[folder] = tmp_path / folder / "dev.jsonl"
        copies[folder].parent.mkdir()
        copies[folder].write_text("\n".join(lines) + "\n", encoding="utf-8")
    out, few = tmp_path / "out", ("--clips", "1", "--check-clips", "1", "--shipped")
    assert calibrate(copies["one"], out, str(copies["two"]), *few) == 0
    capsys.readouterr()
    assert calibrate(copies["one"], out, str(copies["two"]), *few, "--speaker", "a") != 0
    assert "clips_sha256" in capsys.readouterr().err
    # Another first manifest, with the name of the second one.
    changed = copies["one"].read_text().replace("one-0", "new-0")
    copies["one"].write_text(changed, encoding="utf-8")
    assert calibrate(copies["one"], out, str(copies["two"]), *few) != 0
    assert "data.1 dev.jsonl" in capsys.readouterr().err
