"""The published scorer's numbers, worked out by hand from its rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from megaasr.errors import RecordError
from megaasr.records.fields import PREDICTION_FIELDS
from megaasr.score.bench_scorer import bench_language, read_answers, score_records
from megaasr.score.predictions import read_predictions_file

FOUR = Path(__file__).parent.parent / "golden" / "voices_in_the_wild_examples.jsonl"
# By index: some words of the four published references changed.
HYPOTHESES = {
    1755: "i usually take the QUIETER road home, because main street gets crowded after work",
    1758: "I need to return these shoes because the size feels fine standing-up but terrible",
    1808: "",
    1753: "My sister is bringing dinner over later. So we do not need to cook tonight!",
}


def record(answer: str, prediction: str | None, subset: str, **more: Any) -> dict[str, Any]:
    return {"answer": answer, "prediction": prediction, "subset": subset, **more}


def test_the_four_published_clips() -> None:
    records = [r | {"prediction": HYPOTHESES[r["index"]]} for r in read_answers(FOUR)]
    scores = score_records(records)
    # noise: one word of 15 missing; echo: two of 17; dropout: all 15; mixed: right.
    assert scores["overall"] == {
        "error_rate": 29.03,
        "errors": 18,
        "reference_length": 62,
        "count": 4,
        "clips_without_speech": 0,
        "inserted_without_speech": 0,
    }
    assert scores["by_language"] == {"en": scores["overall"]}
    breakdown = scores["breakdown"]
    assert list(breakdown) == [
        "noise",
        "far_field",
        "obstructed",
        "strong_echo",
        "recording",
        "distortion",
        "dropout",
        "mixed",
    ]
    assert {k: v["sim"]["errors"] for k, v in breakdown.items()} == {
        "noise": 1,
        "far_field": 0,
        "obstructed": 0,
        "strong_echo": 2,
        "recording": 0,
        "distortion": 0,
        "dropout": 15,
        "mixed": 0,
    }
    assert all(cells["real"]["count"] == 0 for cells in breakdown.values())


@pytest.mark.parametrize(
    ("answer", "prediction", "errors", "length"),
    [
        ("今天，天气很好。", "今天天气很好", 0, 6),
        ("今天天气很好", "今 天 天 汽 很 好 ！", 1, 6),
        ("价格是１２３元", "价格是123元", 0, 7),  # in version 1, other characters: 3 errors
        ("打开WiFi设置", "打开wifi设置", 2, 8),  # case counts in Chinese, letters one by one
        ("你好", "", 2, 2),
        ("你好", None, 2, 2),
        ("", "你好", 2, 0),
        ("", "", 0, 0),
    ],
)
def test_chinese(answer: str, prediction: str | None, errors: int, length: int) -> None:
    scores = score_records([record(answer, prediction, "real-zh-noise")])
    assert (scores["overall"]["errors"], scores["overall"]["reference_length"]) == (errors, length)
    assert scores["by_language"]["zh"] == scores["breakdown"]["noise"]["real"]
    if length == 0:
        assert scores["overall"]["error_rate"] is None
        assert scores["overall"]["clips_without_speech"] == 1
        assert scores["overall"]["inserted_without_speech"] == errors


@pytest.mark.parametrize(
    ("answer", "prediction", "errors", "length"),
    [
        ("Don't stop", "dont stop", 2, 3),  # don t stop against dont stop
        ("It's 5 o'clock.", "it s 5 o clock", 0, 5),
        ("Ｈello there", "hello there", 0, 2),  # in version 1, another letter: 1 error
        ("hello 世界", "hello 世 界", 2, 2),
        ("one two three", "one three", 1, 3),
        ("", "two words", 2, 0),
    ],
)
def test_english(answer: str, prediction: str, errors: int, length: int) -> None:
    scores = score_records([record(answer, prediction, "sim-en-dropout")])["overall"]
    assert (scores["errors"], scores["reference_length"]) == (errors, length)


def test_rates_are_pooled_not_averaged() -> None:
    scores = score_records(
        [record("a b c d", "a b c d", "real-en-noise"), record("a", "b", "real-en-noise")]
    )
    assert scores["overall"]["error_rate"] == 20.0


def test_where_records_go() -> None:
    scenes = record("a", "a", "real-en-x", source_scenes=["stutter"])
    mixed = record("a", "a", "real-en-noise", source_scenes=["noise", "barrier"])
    nothing = record("a", "a", "", language="Chinese")
    scores = score_records([scenes, mixed, nothing])
    assert scores["breakdown"]["dropout"]["real"]["count"] == 1
    assert scores["breakdown"]["mixed"]["real"]["count"] == 1
    assert scores["breakdown"][""]["unknown"]["count"] == 1
    assert scores["by_language"]["zh"]["count"] == 1


@pytest.mark.parametrize(
    ("fields", "language"),
    [
        ({"subset": "sim-zh-noise"}, "zh"),
        ({"subset": "sim-en-noise", "language": "zh"}, "en"),
        ({"lang": "cn"}, "zh"),
        ({"language": "English"}, "en"),
        ({"language": "deu"}, "de"),
        ({"language": "auto", "locale": "ja-JP"}, "ja"),
        ({"subset": "zh"}, None),  # no dash: the published rule sees no language
        ({}, None),
    ],
)
def test_language(fields: dict[str, str], language: str | None) -> None:
    assert bench_language({"answer": "hello", **fields}) == language


def test_version_1_gives_the_published_numbers() -> None:
    full_width = record("价格是１２３元", "价格是123元", "real-zh-noise")
    assert score_records([full_width], "bench@1")["overall"]["errors"] == 3
    assert score_records([full_width], "bench@2")["overall"]["errors"] == 0
    assert score_records([full_width]) == score_records([full_width], "bench@2")


def test_other_forms_and_broken_files(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"text": "a b", "pred_text": "a"}) + "\n")
    assert score_records(read_answers(path))["overall"]["errors"] == 1
    log = path.with_name("log.jsonl")  # has texts, but no references
    log.write_text('{"system": "a", "id": "x", "text": "said"}\n')
    with pytest.raises(RecordError, match="log of mega-asr bench"):
        read_answers(log)
    log.write_text(log.read_text() + '{"system": "b", "id": "x", "text": "said so"}\n')
    with pytest.raises(RecordError, match=r"several systems \(a, b"):
        read_predictions_file(log)
    path.write_text('{"prediction": "a"}\n')
    with pytest.raises(RecordError, match="line 1: no answer"):
        read_answers(path)
    path.write_text("\n")
    with pytest.raises(RecordError, match="no predictions"):
        read_answers(path)


def test_a_hypothesis_is_a_prediction_and_without_any_there_is_no_score(tmp_path: Path) -> None:
    path = tmp_path / "theirs.jsonl"
    path.write_text('{"id": "1", "answer": "hello world", "hypothesis": "hello world"}\n')
    assert score_records(read_answers(path))["overall"]["errors"] == 0
    path.write_text('{"id": "1", "answer": "hello world", "transcription": "hello world"}\n')
    with pytest.raises(
        RecordError, match=r"1 of 1 records have no prediction \(1\); .*pred_text, hypothesis"
    ):
        read_answers(path)
    lines = [f'{{"id": "{number}", "answer": "a"}}' for number in range(7)]
    path.write_text("\n".join([*lines, '{"answer": "a", "prediction": ""}', '{"answer": "a"}']))
    with pytest.raises(RecordError, match=r"8 of 9 records have no .* \(0, 1, 2, 3, 4, …\)"):
        read_answers(path)


@pytest.mark.parametrize("name", PREDICTION_FIELDS)
def test_every_name_of_a_prediction_is_read_by_score_and_bench(name: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.jsonl"
    path.write_text(json.dumps({"id": "1", "answer": "hello world", name: "hello word"}))
    assert score_records(read_answers(path))["overall"]["errors"] == 1
    assert read_predictions_file(path) == {"1": "hello word"}


def test_two_predictions_that_differ_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.jsonl"
    path.write_text('{"answer": "a", "prediction": "", "pred_text": "a", "id": "x"}\n')
    for read in (read_answers, read_predictions_file):
        with pytest.raises(RecordError, match="line 1: prediction and pred_text differ"):
            read(path)


def test_an_id_that_occurs_twice_is_not_scored_twice(tmp_path: Path) -> None:
    path = tmp_path / "theirs.jsonl"
    path.write_text('{"id": "x", "text": "a", "hyp": "a"}\n' * 2)
    with pytest.raises(RecordError, match="line 2: the id x occurs twice, first in line 1"):
        read_answers(path)
