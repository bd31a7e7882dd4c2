"""Which clips are trained on; the others are left out and counted, and too many are an error."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megaasr.audio import clips, files
from megaasr.audio.waveform import Waveform
from megaasr.corpora.clip_check import (
    NO_SOUND,
    OTHER_LENGTH,
    TOO_LONG,
    TOO_MUCH_TEXT,
    UNREADABLE,
    ClipRecord,
    LeftOut,
    check_clips,
    is_too_much_text,
)
from megaasr.errors import TrainingError
from megaasr.records import Utterance, write_manifest
from megaasr.train.clips import read_clips, read_usable_clips
from megaasr.train.validation import Validation


def sound(path: Path, seconds: float) -> str:
    samples = 0.1 * np.random.default_rng(1).standard_normal(round(seconds * 16_000))
    files.write(path, Waveform(samples.astype(np.float32), 16_000))
    return str(path)


@pytest.mark.parametrize(
    ("text", "seconds", "too_much"),
    [
        ("", 0.1, False),
        ("yes", 0.2, False),
        ("I think that my grandmother translates an article about the strike.", 3.5, False),
        ("I think that my grandmother translates an article about the strike.", 1.2, False),
        ("I think that my grandmother translates an article about the strike.", 0.3, True),
        ("word " * 3_000, 3.0, True),
        ("word " * 3_000, 30.0, True),
        ("word " * 200, 3.0, True),
        # 655 words a minute, the fastest on record, for half a minute.
        ("speaking " * 327, 30.0, True),
        ("speak " * 250, 30.0, False),
        ("今天天气很好我们去公园散步吧", 1.2, False),  # twice the usual speed
        ("今天天气很好我们去公园散步吧" * 3, 1.0, True),
        ("これはとてもはやいにほんごです", 0.9, False),
        ("오늘은 날씨가 아주 좋습니다", 0.8, False),
        ("...!?" * 500, 0.2, False),  # no letter of it is said
        ("नमस्ते दुनिया यह एक परीक्षण है", 1.0, False),
    ],
)
def test_more_text_than_can_be_said(text: str, seconds: float, too_much: bool) -> None:
    assert is_too_much_text(text, seconds) is too_much


def test_every_problem_is_found(tmp_path: Path) -> None:
    two = sound(tmp_path / "two.wav", 2.0)
    long = sound(tmp_path / "long.wav", 31.0)
    (tmp_path / "broken.wav").write_bytes(b"RIFF, and nothing else")
    clips = {
        ClipRecord("good", two, "some words", 2.0): None,
        ClipRecord("rounded", two, "some words", 2.3): None,
        ClipRecord("unstated", two): None,
        ClipRecord("missing", str(tmp_path / "nowhere.wav"), "x", 2.0): UNREADABLE,
        ClipRecord("broken", str(tmp_path / "broken.wav"), "x", 2.0): UNREADABLE,
        ClipRecord("cut", two, "x", 9.0): OTHER_LENGTH,
        ClipRecord("longer", long, "x", 9.0): TOO_LONG,
        ClipRecord("longer than it says", two, "x", 1.0): OTHER_LENGTH,
        ClipRecord("long", long, "x", 31.0): TOO_LONG,
        ClipRecord("silent", two, "x", 0.0): NO_SOUND,
        ClipRecord("text", two, "word " * 3_000, 2.0): TOO_MUCH_TEXT,
        ClipRecord("unstated text", two, "word " * 3_000): TOO_MUCH_TEXT,
    }
    assert check_clips(clips) == list(clips.values())
    assert check_clips([ClipRecord("long", long)], max_s=None) == [None]


def test_too_many_are_an_error_that_says_why() -> None:
    few = LeftOut(100, (("a", UNREADABLE), ("b", UNREADABLE), ("c", TOO_MUCH_TEXT)))
    few.require(0.05, "data")
    assert few.describe() == (
        "3 of 100 clips are left out: 2 cannot be read (such as a), 1 more text than can be said "
        "in its time (such as c)"
    )
    assert few.to_dict() == {
        "clips": 100,
        "left_out": 3,
        "reasons": {UNREADABLE: 2, TOO_MUCH_TEXT: 1},
        "ids": {"a": UNREADABLE, "b": UNREADABLE, "c": TOO_MUCH_TEXT},
    }
    with pytest.raises(TrainingError, match=r"data: 3 of 100 clips .* than 2 %.*max_left_out"):
        few.require(0.02, "data")
    with pytest.raises(TrainingError, match="dev: no clip can be used: 1 cannot be read"):
        LeftOut(1, (("a", UNREADABLE),)).require(1.0, "dev")
    LeftOut(0).require(0.0, "nothing")
    assert not LeftOut(5).describe()


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Twenty good clips and one with a label of 3,000 words."""
    sound(tmp_path / "a.wav", 3.0)
    extra = {"duration_s": 3.0}
    clips = [Utterance(f"u{n}", "a.wav", "a few words", "en", extra) for n in range(20)]
    clips.insert(7, Utterance("wordy", "a.wav", "word " * 3_000, "en", extra))
    write_manifest(tmp_path / "m.jsonl", clips)
    return tmp_path / "m.jsonl"


def test_a_manifest_is_read_without_what_cannot_be_used(manifest: Path) -> None:
    clips, left_out = read_usable_clips([manifest])
    assert [clip.id for clip in clips] == [f"u{n}" for n in range(20)]
    assert left_out == LeftOut(21, (("wordy", TOO_MUCH_TEXT),))
    with pytest.raises(TrainingError, match="1 of 21 clips"):
        read_usable_clips([manifest], max_left_out=0.01)
    (manifest.parent / "a.wav").unlink()
    with pytest.raises(TrainingError, match="no clip can be used: 20 cannot be read"):
        read_usable_clips([manifest])


def test_dev_clips_are_checked_too(manifest: Path) -> None:
    Validation(read_clips([manifest]), 21)
    with pytest.raises(TrainingError, match="dev: 1 of 21 clips cannot be used, more than 1 %"):
        Validation(read_clips([manifest]), 21, 0.01)


def test_good_manifests_give_the_clips_they_always_gave(manifest: Path) -> None:
    lines = manifest.read_text().splitlines()
    good = [line for line in lines if json.loads(line)["id"] != "wordy"]
    manifest.write_text("\n".join(good) + "\n")
    clips, left_out = read_usable_clips([manifest])
    assert clips == read_clips([manifest])
    assert left_out == LeftOut(20)


def test_parquet_is_read_by_one_thread_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads that read a `ParquetFile` once waited for each other for ever."""
    rows = [{"bytes": bytes([number]), "path": f"{number}"} for number in range(64)]
    path = tmp_path / "shard.parquet"
    pq.write_table(pa.table({"audio": rows}), path, row_group_size=2)
    readers, most, read = 0, 0, clips._read_row_group.__wrapped__

    def counting(shard: str, group: int) -> list[Any]:
        nonlocal readers, most
        readers += 1
        most = max(most, readers)
        time.sleep(0.001)
        result = read(shard, group)
        readers -= 1
        return result

    monkeypatch.setattr(clips, "_read_row_group", counting)
    with ThreadPoolExecutor(4) as pool:
        audio = list(
            pool.map(lambda row: clips.clip_bytes(tmp_path, f"{path.name}#{row}"), range(64))
        )
    assert audio == [bytes([number]) for number in range(64)]
    assert most == 1
