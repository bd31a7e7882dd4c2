"""Sounds of a report are found wherever it is made, or the command says how many are missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from example_results import example_result
from megaasr.cli.main import main
from megaasr.report.sounds import SoundSearch


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_status:
        main([str(argument) for argument in arguments])
    return int(exit_status.value.code or 0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A benchmark that ran in its test set's folder, with relative paths."""
    folder = tmp_path / "bench"
    folder.mkdir()
    monkeypatch.chdir(folder)
    example = example_result(Path(), clips=20, kind="manifest", sounds=20)
    (folder / "out").mkdir()
    (folder / "out/result.json").write_text(example.model_dump_json(), encoding="utf-8")
    return folder


def players(page: Path) -> int:
    return page.read_text(encoding="utf-8").count("<audio")


def test_a_report_made_elsewhere_has_its_sounds(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("report", "out/result.json", "-o", "here") == 0
    expected = players(folder / "here/index.html")
    assert expected > 5
    (folder.parent / "elsewhere").mkdir()
    monkeypatch.chdir(folder.parent / "elsewhere")
    assert command("report", "../bench/out/result.json", "-o", "there") == 0
    assert players(Path("there/index.html")) == expected
    assert "not found" not in capsys.readouterr().err


def test_the_command_counts_the_sounds_that_are_missing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in folder.glob("*.flac"):
        path.rename(folder.parent / path.name)
    (folder.parent / "results/deep").mkdir(parents=True)
    shutil.move(folder / "out", folder.parent / "results/deep/out")
    result = folder.parent / "results/deep/out/result.json"
    assert command("report", result, "-o", "page") == 0
    warning = capsys.readouterr().err
    assert "sounds were not found" in warning
    assert "--audio-root" in warning
    assert players(folder / "page/index.html") == 0
    assert command("report", result, "-o", "page", "--audio-root", folder.parent) == 0
    assert "not found" not in capsys.readouterr().err
    assert players(folder / "page/index.html") > 5
    assert command("report", result, "-o", "page", "--audio-root", folder) == 0
    assert f"not found below {folder}" in capsys.readouterr().err


def test_a_count_of_nothing_missing_is_silent() -> None:
    assert SoundSearch().describe_missing() is None
