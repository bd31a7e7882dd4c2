"""Recorded noises from Debian packages: splits, categories, and what is left out."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from megaasr.corpora.noises.build import SPLITS, RecordedNoises, build_noises, split_of
from megaasr.corpora.noises.packages import PACKAGES, NoisePackage
from megaasr.errors import PackageError
from megaasr.simulate.noise_pool import NoisePool

RATE = 16_000
FOLDER = "usr/share/sounds"
PACKAGE = NoisePackage(
    "noisy-data",
    "CC0-1.0",
    FOLDER,
    {"rain": ("rain*.wav",), "keyboard": ("keys/*",), "broken": ("broken.wav", "silent.wav")},
)

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is missing")


def wav(seconds: float, seed: int) -> bytes:
    samples = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    content = io.BytesIO()
    soundfile.write(content, samples, RATE, format="WAV")
    return content.getvalue()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A .deb file with 30 long sounds, 30 short ones, and some that cannot be used."""
    root = tmp_path / "root"
    sounds = root / FOLDER
    (sounds / "keys").mkdir(parents=True)
    for number in range(30):
        (sounds / f"rain{number:02d}.wav").write_bytes(wav(2.5, number))
        (sounds / "keys" / f"{number:02d}.wav").write_bytes(wav(0.1, 100 + number))
    (sounds / "rain99.wav").write_bytes(wav(2.5, 0))  # a copy
    (sounds / "broken.wav").write_bytes(b"RIFF and no more of a wave file" * 9)
    silent = io.BytesIO()
    soundfile.write(silent, np.zeros(RATE), RATE, format="WAV")
    (sounds / "silent.wav").write_bytes(silent.getvalue())
    (sounds / "speech.wav").write_bytes(wav(3, 50))  # not listed
    document = root / "usr/share/doc/noisy-data/copyright"
    document.parent.mkdir(parents=True)
    document.write_text("License: CC0-1.0\n")
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN" / "control").write_text(
        "Package: noisy-data\nVersion: 1.2\nArchitecture: all\n"
        "Maintainer: T <t@example.org>\nDescription: noises\n"
    )
    folder = tmp_path / "packages"
    folder.mkdir()
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-b", str(root), str(folder / "noisy-data_1.2_all.deb")],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture
def recorded(cache: Path, tmp_path: Path) -> RecordedNoises:
    return build_noises(tmp_path / "noises", cache=cache, packages=[PACKAGE])


@needs_dpkg
def test_no_file_is_in_two_splits(recorded: RecordedNoises) -> None:
    files = {
        split: {file for noise in recorded.noises[split] for file in noise.extra["files"]}
        for split in SPLITS
    }
    assert sum(len(names) for names in files.values()) == 60
    assert len(set().union(*files.values())) == 60
    assert all(files.values())
    for split in SPLITS:
        assert all(noise.extra["split"] == split for noise in recorded.noises[split])
    assert {split_of(wav(1, seed)) for seed in range(60)} == set(SPLITS)


@needs_dpkg
def test_lines_name_category_licence_and_source(recorded: RecordedNoises) -> None:
    for split in SPLITS:
        for noise in recorded.noises[split]:
            assert noise.extra["licence"] == "CC0-1.0"
            assert noise.extra["source"] == "noisy-data 1.2"
            samples, rate = soundfile.read(recorded.manifests[split].parent / noise.audio)
            assert rate == RATE
            assert len(samples) == pytest.approx(noise.extra["duration_s"] * RATE, abs=RATE / 1000)
            assert np.abs(samples).max() <= 0.901
            if noise.extra["category"] == "rain":
                assert noise.extra["duration_s"] == pytest.approx(2.5, abs=0.01)
            else:  # keystrokes, with pauses between them
                assert noise.extra["duration_s"] > 10
                assert np.mean(samples == 0) > 0.3


@needs_dpkg
def test_what_cannot_be_used_is_counted(recorded: RecordedNoises) -> None:
    assert recorded.skipped == {
        "a copy of another file": 1,
        "cannot be decoded": 1,
        "silent or shorter than 0.05 s": 1,
    }


@needs_dpkg
def test_a_pool_can_use_a_split(recorded: RecordedNoises, tmp_path: Path) -> None:
    pool = NoisePool.from_folders([recorded.manifests["test"]], tmp_path / "store", split="test")
    assert pool.categories == ["test/keyboard", "test/rain"]
    assert not pool.failures
    assert pool.recorded is not None
    assert len(pool.recorded.names) == len(recorded.noises["test"])
    rng = np.random.default_rng(1)
    assert pool.choose("rain", rng).startswith("test/rain/noisy-data-rain")


@needs_dpkg
def test_the_same_packages_give_the_same_bytes(
    recorded: RecordedNoises, cache: Path, tmp_path: Path
) -> None:
    stale = tmp_path / "noises" / "audio" / "train" / "old.flac"
    stale.write_bytes(b"")
    before = {path: path.read_bytes() for path in (tmp_path / "noises").rglob("*.*")}
    build_noises(tmp_path / "noises", cache=cache, packages=[PACKAGE])
    after = {path: path.read_bytes() for path in (tmp_path / "noises").rglob("*.*")}
    assert before.pop(stale) == b""
    assert after == before
    assert (tmp_path / "noises" / "licences" / "noisy-data.txt").read_text() == "License: CC0-1.0\n"


@needs_dpkg
def test_a_package_without_its_sounds_is_named(cache: Path, tmp_path: Path) -> None:
    moved = NoisePackage("noisy-data", "CC0-1.0", "usr/share/elsewhere", {"rain": ("*",)})
    with pytest.raises(PackageError, match=r"has no file usr/share/elsewhere/\*"):
        build_noises(tmp_path / "noises", cache=cache, packages=[moved])


def test_the_packages_give_many_categories() -> None:
    assert len({category for package in PACKAGES for category in package.categories}) >= 8
    names = [package.name for package in PACKAGES]
    assert names == sorted(set(names))
