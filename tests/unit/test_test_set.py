"""Test sets in all the forms that people have them in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from megaasr.errors import HubUnreachableError, RecordError, UsageError
from megaasr.score.hub import find_test_set
from megaasr.score.subsets import parse_subset
from megaasr.score.test_set import guess_language, read_test_set


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
    return path


BENCH = {
    "index": 3,
    "audio_path": "a.wav",
    "question": "?",
    "answer": "One two.",
    "subset": "sim-en-noise",
    "name": "a",
    "prediction": "",
}


def test_the_bench(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "bench.jsonl",
        BENCH,
        BENCH | {"name": "b", "subset": "real-zh-strong_echo", "answer": "你好"},
        BENCH | {"name": "c", "subset": "syn_mixed"},
        BENCH | {"name": "d", "source_scenes": ["noise", "stutter"]},
        BENCH | {"name": "", "subset": "sim-en-far_field"},
    )
    test_set = read_test_set(path)
    assert test_set.kind == "bench"
    assert test_set.audio_root == tmp_path
    assert [(c.id, c.language, c.category, c.origin) for c in test_set.clips] == [
        ("a", "en", "noise", "simulated"),
        ("b", "zh", "echo", "real"),
        ("c", None, "mixed", "simulated"),
        ("d", "en", "mixed", "simulated"),
        ("3", "en", "far_field", "simulated"),
    ]


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("sim-en-barrier", "obstructed"),
        ("sim-en-crosstalk", "recording"),
        ("real-zh-stutter", "dropout"),
        ("real_strong_echo", "echo"),
        ("syn_far_field", "far_field"),
        ("SIM-EN-Noise", "noise"),
    ],
)
def test_legacy_names(name: str, category: str) -> None:
    assert parse_subset(name).category == category


def test_an_unknown_category_is_named() -> None:
    with pytest.raises(RecordError, match="wind"):
        parse_subset("sim-en-wind")


def test_a_simulated_data_set(tmp_path: Path) -> None:
    steps = [{"primitive": "noise", "snr_db": 7.0}, {"primitive": "noise", "snr_db": -1.5}]
    record = {
        "id": "u-000",
        "audio": "test-0.parquet#0",
        "text": "one",
        "language": "en",
        "duration_s": 1.5,
        "scenario": "recording+noise",
        "severity": 0.7,
        "draw": json.dumps({"steps": steps}),
        "speaker": "s",
    }
    lines(
        tmp_path / "simulated.jsonl",
        record,
        record | {"id": "u-001", "scenario": "clean", "draw": '{"steps": []}'},
        record | {"id": "u-002", "scenario": "echo", "draw": None},
    )
    test_set = read_test_set(tmp_path)
    assert test_set.kind == "simulated"
    first, clean, echo = test_set.clips
    assert (first.category, first.severity, first.snr_db) == ("mixed", 0.7, -1.5)
    assert (first.duration_s, first.speaker, first.origin) == (1.5, "s", "simulated")
    assert (clean.category, clean.severity, clean.snr_db, clean.origin) == (
        "clean",
        None,
        None,
        None,
    )
    assert (echo.category, echo.snr_db) == ("echo", None)


def test_tables(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text('\ufeffaudio,text\na.wav,"one, two"\nb.wav,你好\n', encoding="utf-8")
    test_set = read_test_set(table)
    assert test_set.kind == "table"
    assert [(c.id, c.text, c.language) for c in test_set.clips] == [
        ("a.wav", "one, two", None),
        ("b.wav", "你好", "zh"),
    ]
    nemo = lines(tmp_path / "n.jsonl", {"audio_filepath": "x.wav", "duration": 2, "text": "a"})
    assert read_test_set(nemo).clips[0].duration_s == 2.0
    training = lines(
        tmp_path / "q.jsonl", {"audio": "x.wav", "text": "language English<asr_text>Hi there."}
    )
    assert read_test_set(training).clips[0].text == "Hi there."


def test_the_hash_is_of_what_is_transcribed(tmp_path: Path) -> None:
    first = read_test_set(lines(tmp_path / "a.jsonl", BENCH)).sha256
    assert read_test_set(lines(tmp_path / "b.jsonl", BENCH | {"prediction": "x"})).sha256 == first
    assert read_test_set(lines(tmp_path / "c.jsonl", BENCH | {"answer": "x"})).sha256 != first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no clips"),
        ('{"audio": "a", "text": "b"}\n{"text": "b"}\n', "line 2: no audio"),
        ('{"audio": "a"}\n', "line 1: no reference"),
        ("not json\n", "line 1: not JSON"),
        ("[1]\n", "not a JSON object"),
        ('{"audio": "a", "text": "b"}\n{"audio": "a", "text": "c"}\n', "occurs twice"),
        ('{"audio": "a", "text": "b", "duration": "long"}\n', "not a number"),
        ('{"audio_path": "a", "answer": "b", "subset": "sim-en-wind"}\n', "line 1: subset"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(content)
    with pytest.raises((UsageError, RecordError), match=message):
        read_test_set(path)


def test_missing_audio_is_noticed_before_anything_runs(tmp_path: Path) -> None:
    test_set = read_test_set(lines(tmp_path / "bench.jsonl", BENCH))
    with pytest.raises(UsageError, match="--audio-root"):
        test_set.require_audio()
    (tmp_path / "a.wav").write_bytes(b"")
    test_set.require_audio()


def test_which_file_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no test set"):
        read_test_set(tmp_path / "nowhere")
    lines(tmp_path / "a.jsonl", BENCH)
    assert len(read_test_set(tmp_path).clips) == 1
    lines(tmp_path / "b.jsonl", BENCH)
    with pytest.raises(UsageError, match=r"2 \.jsonl"):
        read_test_set(tmp_path)


def test_only_chinese_characters_mean_chinese() -> None:
    assert guess_language("你好 world") == "zh"
    assert guess_language("東京に行く") is None
    assert guess_language("hello") is None


def test_a_data_set_on_a_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HubUnreachableError, match="owner/name is not in the local cache"):
        find_test_set("owner/name", offline=True)
    with pytest.raises(UsageError, match=r"no test set missing\.jsonl"):
        find_test_set("missing.jsonl")
