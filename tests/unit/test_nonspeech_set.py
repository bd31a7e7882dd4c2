"""Hours of sound without speech: the same bytes, all categories, resumable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from megaasr.audio import files
from megaasr.errors import UsageError
from megaasr.records import read_manifest
from megaasr.simulate.families.registry import CATEGORIES
from megaasr.simulate.noise_pool import NoisePool
from megaasr.simulate.nonspeech_set import build_nonspeech_set


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nonspeech")
    return build_nonspeech_set(0.05, NoisePool(split="test"), folder, seed=3, workers=2)


def test_the_same_seed_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    again = build_nonspeech_set(0.05, NoisePool(split="test"), tmp_path, seed=3, workers=1)
    assert again.read_bytes() == built.read_bytes()
    for utterance in read_manifest(built):
        ours, theirs = (root / utterance.audio for root in (built.parent, tmp_path))
        assert ours.read_bytes() == theirs.read_bytes()
    other = build_nonspeech_set(0.01, NoisePool(split="test"), tmp_path / "other", seed=4)
    first = next(iter(read_manifest(other)))
    assert (other.parent / first.audio).read_bytes() != (tmp_path / first.audio).read_bytes()


def test_nobody_speaks_and_every_clip_has_a_minute_and_a_level(built: Path) -> None:
    utterances = list(read_manifest(built))
    assert len(utterances) == 3
    for utterance in utterances:
        assert utterance.text == ""
        assert utterance.extra["noise"].split("/")[-1].startswith("test-")
        waveform = files.read(built.parent / utterance.audio)
        assert waveform.duration_s == 60
        assert 10 ** (-52 / 20) < np.abs(waveform.samples).max() <= 0.6


def test_all_categories_and_silence_take_turns(tmp_path: Path, built: Path) -> None:
    hours = (len(CATEGORIES) + 1) / 60
    manifest = build_nonspeech_set(hours, NoisePool(split="test"), tmp_path, seed=1)
    utterances = list(read_manifest(manifest))
    assert len({utterance.extra["category"] for utterance in utterances}) == len(CATEGORIES) + 1
    silent = files.read(tmp_path / utterances[-1].audio)
    assert utterances[-1].extra["category"] == "silence"
    assert np.abs(silent.samples).max() < 10 ** (-75 / 20)


def test_finished_clips_are_kept_and_broken_ones_made_again(built: Path, tmp_path: Path) -> None:
    manifest = build_nonspeech_set(0.03, NoisePool(split="test"), tmp_path, seed=3)
    kept, broken = (tmp_path / utterance.audio for utterance in read_manifest(manifest))
    before, time = broken.read_bytes(), kept.stat().st_mtime_ns
    broken.write_bytes(b"")
    build_nonspeech_set(0.03, NoisePool(split="test"), tmp_path, seed=3)
    assert broken.read_bytes() == before
    assert kept.stat().st_mtime_ns == time


@pytest.mark.parametrize("hours", [0.0, -1.0, float("nan"), float("inf")])
def test_hours_that_are_none_are_refused(tmp_path: Path, hours: float) -> None:
    with pytest.raises(UsageError, match="must be above 0, and finite"):
        build_nonspeech_set(hours, NoisePool(), tmp_path, seed=1)


def test_clips_of_another_seed_or_of_other_noises_are_never_kept(tmp_path: Path) -> None:
    pool = NoisePool(split="test")
    build_nonspeech_set(0.01, pool, tmp_path, seed=3)
    clip = tmp_path / "audio" / "nonspeech-00000.flac"
    before = clip.read_bytes()
    with pytest.raises(UsageError, match=r"another seed .*seed is 3 there and 4 now"):
        build_nonspeech_set(0.01, pool, tmp_path, seed=4)
    with pytest.raises(UsageError, match=r"noises\.split is test there and dev now"):
        build_nonspeech_set(0.01, NoisePool(split="dev"), tmp_path, seed=3)
    manifest = build_nonspeech_set(0.03, pool, tmp_path, seed=3)  # more hours continue it
    assert (len(list(read_manifest(manifest))), clip.read_bytes()) == (2, before)
