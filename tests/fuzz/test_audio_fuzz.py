"""The fuzzer of recordings: some inputs always, thousands with `-m slow`."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from audio_bases import Base, sound
from audio_fuzz import fuzz, table
from audio_mutations import MUTATIONS, mutated
from audio_worker import WRONG, Checker

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="the ffmpeg program is not installed"
)
FORMATS = ("WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64")
SEED = 19


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with whole recordings that need no ffmpeg."""
    import soundfile

    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "bases").mkdir()
    for file_format in FORMATS:
        name = f"{file_format.lower()}~{file_format}_x~16000~1"
        path = folder / "bases" / f"{name}.bin"
        soundfile.write(path, sound(16_000, 1), 16_000, format=file_format)
        path.with_suffix(".known").write_text("no")  # ffmpeg is not asked: these are quick tests
    (folder / "bases" / "complete").touch()
    return folder


@pytest.mark.parametrize("first", range(0, 64, 8))
def test_some_inputs(first: int, small_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    checker = Checker(small_folder, SEED)
    for index in range(first, first + 8):
        result = checker.check(index)
        assert result["outcome"] not in WRONG, json.dumps(result, indent=1)


def test_inputs_depend_on_the_seed_alone() -> None:
    bases = [Base(f"{name}~x~1~1", name, name.encode() * 500) for name in ("a", "b")]
    indices = range(2, 2 + 2 * (len(MUTATIONS) - 1))
    inputs = [mutated(bases, 1, index) for index in indices]
    assert [mutated(bases, 1, index) for index in indices] == inputs
    pairs = Counter((base.name, mutation) for base, mutation, _ in inputs)
    assert set(pairs.values()) == {1}
    assert len(pairs) == 2 * (len(MUTATIONS) - 1)


@needs_ffmpeg
@pytest.mark.slow
def test_five_thousand_inputs(tmp_path: Path) -> None:
    count = int(os.environ.get("MEGAASR_FUZZ_INPUTS", "5000"))
    results: list[dict[str, Any]] = list(fuzz(range(count), SEED, tmp_path))
    print(table(results))
    wrong = [result for result in results if result["outcome"] in WRONG]
    assert not wrong, json.dumps(wrong[:5], indent=1)
