"""From predictions to a result: counts, break-downs, comparisons, and the file itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from megaasr.errors import RecordError, UsageError
from megaasr.report.benchmark_tables import document_tables
from megaasr.score.assembly import SystemPredictions, assemble
from megaasr.score.blocks import blocks_of
from megaasr.score.exports import write_leaderboard, write_submission
from megaasr.score.groups import split_into_subgroups
from megaasr.score.oracle import choose_best
from megaasr.score.predictions import UNUSABLE, Prediction
from megaasr.score.result import Hypothesis, Result, ScoredClip
from megaasr.score.summary import ScoringSettings
from megaasr.score.test_set import TestClip, TestSetFile, read_test_set

QUICK = ScoringSettings(replications=200)
WORDS = "one two three four five six seven eight nine ten"


def clip(name: str, **fields: object) -> TestClip:
    return TestClip(id=name, audio=f"{name}.wav", text=WORDS, **fields)  # type: ignore[arg-type]


CLIPS = (
    clip("a", language="en", scenario="noise", severity=0.1, category="noise", snr_db=8.0),
    clip("b", language="en", scenario="noise", severity=0.9, category="noise", snr_db=-4.0),
    clip("c", language="en", scenario="echo+noise", severity=1.0, category="mixed", snr_db=-5.0),
    clip("d", language="en", scenario="clean", category="clean"),
    TestClip("e", "e.wav", "今天天气很好", language="zh", category="echo", origin="real"),
)
TEST_SET = TestSetFile(Path("sets/made-up.jsonl"), Path("sets"), "simulated", CLIPS)


def prediction(text: str, **fields: object) -> Prediction:
    return Prediction(text, duration_s=4.0, seconds=0.5, **fields)  # type: ignore[arg-type]


BASE = SystemPredictions(
    "base",
    "megaasr",
    {
        "a": prediction(WORDS, route="base"),
        "b": prediction("one two three", route="robust"),
        "c": Prediction("", error=f"{UNUSABLE}gone"),
        "d": prediction(WORDS, route="base"),
        "e": prediction("今天天汽很好", route="base"),
    },
    device="cpu",
    settings={"model": "tiny"},
)
ROBUST = SystemPredictions("robust", "predictions", {c.id: Prediction(c.text) for c in CLIPS})


@pytest.fixture(scope="module")
def result() -> Result:
    return assemble(TEST_SET, [BASE, ROBUST], QUICK, "mega-asr bench …")


def rate(result: Result, by: str, name: str, system: str = "base") -> float:
    (group,) = [group for group in result.groups_by(by) if group.name == name]
    return group.rates[system]["bench"].rate


def test_counts_are_pooled(result: Result) -> None:
    assert rate(result, "overall", "overall") == pytest.approx((7 + 10 + 1) / 46)
    assert rate(result, "overall", "overall", "robust") == 0
    assert rate(result, "language", "zh") == pytest.approx(1 / 6)
    assert rate(result, "scenario", "noise") == pytest.approx(7 / 20)
    assert rate(result, "category", "echo / real") == pytest.approx(1 / 6)


def test_divisions(result: Result) -> None:
    def names(by: str) -> list[str]:
        return [group.name for group in result.groups_by(by)]

    assert names("category") == ["clean", "noise", "echo / real", "mixed"]
    assert names("severity") == ["clean", "0 to 0.2", "0.8 to 1"]
    assert names("snr") == ["-5 to 0 dB", "5 to 10 dB"]
    assert names("size") == ["0", "1", "2"]
    assert names("scenario") == ["clean", "noise", "echo+noise"]
    assert names("route") == ["base", "robust"]
    assert set(result.groups_by("route")[1].rates) == {"base"}  # the other system has no routes


def test_a_graded_test_set_is_divided_by_difficulty(tmp_path: Path) -> None:
    rates = {"a": 0.0, "b": 0.3, "c": 1.2, "d": 0.29}
    lines = [
        {"id": c.id, "audio": c.audio, "text": c.text, "base_error_rate": rates.get(c.id)}
        for c in CLIPS
    ]
    path = tmp_path / "graded.jsonl"
    (tmp_path / "errors.jsonl").write_text("")  # as mega-asr grade leaves the folder
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    graded = assemble(read_test_set(tmp_path), [BASE, ROBUST], QUICK, "")
    groups = graded.groups_by("difficulty")
    assert [(group.name, group.rates["base"]["bench"].clips) for group in groups] == [
        ("below 30 %", 2),
        ("30 % and above", 2),
    ]
    comparisons = {
        (group.name, group.normalizer) for group in graded.comparisons if group.by == "difficulty"
    }
    assert ("30 % and above", "bench") in comparisons
    (tmp_path / "result.json").write_text(graded.to_json())
    assert Result.read(tmp_path / "result.json") == graded
    graded_by = "Error rate of the graded clip"
    assert any(graded_by in group.markdown() for group in document_tables(graded))
    short = document_tables(graded, short=True)
    assert "Clips with a failure, in %" in [group.caption for group in short]
    assert not any(graded_by in group.markdown() for group in short)


def test_voices_apart() -> None:
    clips = tuple(
        TestClip(c.id, c.audio, c.text, language=c.language, held_out_voice=held_out)
        for c, held_out in zip(CLIPS, (False, True, True, False, None), strict=True)
    )
    result = assemble(TestSetFile(Path("x"), Path(), "manifest", clips), [BASE], QUICK, "")
    assert [
        (group.name, group.rates["base"]["bench"].clips) for group in result.groups_by("voice")
    ] == [
        ("heard in training", 2),
        ("held out", 2),
    ]


def test_routers_are_judged_by_their_probabilities() -> None:
    scores = {"a": 0.4, "b": 0.9, "c": 0.8, "d": 0.0}
    predictions = {
        c.id: prediction(c.text, route="robust", degraded_probability=scores.get(c.id))
        for c in CLIPS
    }
    routed = SystemPredictions("routed", "megaasr", predictions)
    result = assemble(TEST_SET, [BASE, routed], QUICK, "")
    assert result.routing == {
        "routed": {
            "clips": 4,
            "accuracy": 0.75,  # a, of severity 0.1, was taken for clean
            "accuracy_severity_0.3": 1.0,
            "precision": 1.0,
            "recall": round(2 / 3, 5),
            "f1": 0.8,
            "auc": 1.0,
        }
    }
    table = next(table for table in document_tables(result) if table.caption.startswith("Routers"))
    assert "| routed | 4 | 75.00 | 100.00 | 100.00 | 66.67 | 80.00 | 100.00 |" in table.markdown()
    assert Result.model_validate_json(result.to_json()) == result


def test_the_oracle_takes_the_better_system_for_each_clip() -> None:
    brief = SystemPredictions(
        "other", "megaasr", {c.id: prediction("one two three four") for c in CLIPS}
    )
    best = choose_best([BASE.predictions, brief.predictions], CLIPS)
    assert [best[c.id].text for c in CLIPS] == [
        WORDS,
        "one two three four",  # the base has a word less
        "one two three four",  # the base has nothing
        WORDS,
        "今天天汽很好",
    ]
    assert best["a"].route is None
    assert best["a"].seconds is None


def test_failures_and_speed(result: Result) -> None:
    rate = result.groups_by("overall")[0].rates["base"]["bench"]
    assert rate.failures == {
        "empty": 0.2,
        "hallucination": 0.0,
        "omission": 0.2,
        "repetition": 0.0,
        "truncated": 0.0,
    }
    base, robust = result.systems
    assert (base.failed, base.seconds, base.audio_s, base.rtfx) == (1, 2.0, 16.0, 8.0)
    assert (robust.seconds, robust.rtfx, robust.failed) == (None, None, 0)
    assert result.test_set.unusable == {"c": "gone"}


def test_comparisons(result: Result) -> None:
    overall = [comparison for comparison in result.comparisons if comparison.by == "overall"]
    assert [
        (comparison.baseline, comparison.system, comparison.normalizer) for comparison in overall
    ] == [
        ("base", "robust", "bench"),
        ("base", "robust", "default"),
    ]
    assert overall[0].difference == pytest.approx(-18 / 46)
    assert overall[0].interval is overall[0].p_value is None  # of 5 clips nothing more is said
    assert (overall[0].blocks, overall[0].is_significant(0.05)) == (2, False)
    against_robust = assemble(
        TEST_SET, [BASE, ROBUST], ScoringSettings(replications=200, baseline="robust"), ""
    )
    assert against_robust.baseline == "robust"
    assert against_robust.comparisons[0].difference == pytest.approx(18 / 46)
    with pytest.raises(UsageError, match="unknown baseline x"):
        assemble(TEST_SET, [BASE], ScoringSettings(replications=200, baseline="x"), "")


def test_the_file_is_read_as_it_was_written(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(result.to_json(), encoding="utf-8")
    assert Result.read(path) == result
    assert len(json.loads(path.read_text())["clips"]) == len(CLIPS)
    assert sum(line.startswith('{"id"') for line in path.read_text().splitlines()) == len(CLIPS)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "the file"), ('{"result_schema": 1}', "result_schema"), ("[]", "the file")],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises(RecordError, match=message):
        Result.read(path)
    with pytest.raises(RecordError, match="No such file"):
        Result.read(tmp_path / "nowhere.json")


def test_the_same_seed_gives_the_same_result(result: Result) -> None:
    again = assemble(TEST_SET, [BASE, ROBUST], QUICK, "mega-asr bench …")
    assert again.model_copy(update={"finished": result.finished}) == result
    texts = [" ".join([f"n{n}", *WORDS.split()[: n % 9]]) for n in range(30)]
    clips = tuple(replace(CLIPS[0], id=text, text=text) for text in texts)
    many = TestSetFile(Path("x.jsonl"), Path(), "table", clips)
    system = SystemPredictions("s", "file", {c.id: Prediction("one two three") for c in clips})
    first, second = (assemble(many, [system], ScoringSettings(seed, 200), "") for seed in (1, 2))
    assert first.overall.rates["s"]["bench"].blocks == 30
    assert first.groups[0] != second.groups[0]


def test_copies_of_a_sentence_are_a_block() -> None:
    def record(name: str, text: str, **fields: object) -> TestClip:
        return TestClip(name, f"{name}.wav", text, record=fields)

    clips = (
        record("a", "Red boats."),
        record("a-0", "Red boats.", parent_id="a"),
        record("b", "red  boats."),  # another recording, with degraded copies of its own
        record("b-0", "Red boats.", parent_id="b"),
        record("c", "Blue cars."),
        record("d", "blue CARS."),
        record("e", ""),
        record("f", ""),
        record("x", "other", parent_id="gone", speaker="s"),
        record("y", "other", parent_id="gone", speaker="s"),
    )
    assert blocks_of(clips) == ["a", "a", "b", "b", "c", "c", "e", "f", "x", "x"]
    assert blocks_of(clips, "id") == [clip.id for clip in clips]
    assert blocks_of(clips[-2:], "speaker") == ["s", "s"]
    with pytest.raises(UsageError, match="clip a has no field speaker"):
        blocks_of(clips, "speaker")


def test_copies_do_not_make_a_star() -> None:
    """60 copies of 3 sentences, all better: one sentence each is what was tested."""
    texts = ["one two three", "four five six", "seven eight nine"]
    clips = tuple(TestClip(f"c{n}", f"c{n}.wav", texts[n % 3]) for n in range(60))
    worse = SystemPredictions("worse", "file", {c.id: Prediction("one") for c in clips})
    better = SystemPredictions("better", "file", {c.id: Prediction(c.text) for c in clips})
    test_set = TestSetFile(Path("x.jsonl"), Path(), "table", clips)
    result = assemble(test_set, [worse, better], QUICK, "")
    rate, comparison = result.overall.rates["better"]["bench"], result.comparisons[0]
    assert (rate.clips, rate.blocks, rate.interval) == (60, 3, None)
    assert (comparison.blocks, comparison.p_value) == (3, None)
    tables = "".join(table.markdown() for table in document_tables(result))
    assert "too few clips" in tables
    assert "| yes |" not in tables
    document = json.loads(result.to_json())
    assert document["comparisons"][0]["interval"] is document["comparisons"][0]["p_value"] is None
    by_clip = assemble(test_set, [worse, better], ScoringSettings(1, 200, blocks="id"), "")
    assert by_clip.comparisons[0].is_significant(0.05)


def test_blocks() -> None:
    clips = tuple(
        TestClip(c.id, c.audio, c.text, record={"speaker": f"s{n % 2}"})
        for n, c in enumerate(CLIPS)
    )
    test_set = TestSetFile(Path("x.jsonl"), Path(), "table", clips)
    result = assemble(test_set, [ROBUST], ScoringSettings(replications=200, blocks="speaker"), "")
    assert [clip.block for clip in result.clips] == ["s0", "s1", "s0", "s1", "s0"]
    with pytest.raises(UsageError, match="clip a has no field room"):
        assemble(test_set, [ROBUST], ScoringSettings(blocks="room"), "")


def test_exports(result: Result, tmp_path: Path) -> None:
    base, _ = write_leaderboard(result, tmp_path)
    rows = [json.loads(line) for line in base.read_text().splitlines()]
    assert rows[1] == {
        "audio_filepath": "b.wav",
        "duration": 4.0,
        "time": 0.5,
        "text": WORDS,
        "pred_text": "one two three",
    }
    records = tuple(
        TestClip(c.id, c.audio, c.text, record={"index": n, "answer": c.text, "prediction": ""})
        for n, c in enumerate(CLIPS)
    )
    filled, _ = write_submission(result, records, tmp_path)
    row = json.loads(filled.read_text().splitlines()[4])
    assert row == {"index": 4, "answer": "今天天气很好", "prediction": "今天天汽很好"}


@pytest.mark.parametrize(
    ("severity", "name"),
    [(0.0, "0 to 0.2"), (0.2, "0.2 to 0.4"), (0.799, "0.6 to 0.8"), (1.0, "0.8 to 1")],
)
def test_every_severity_is_in_one_part(severity: float, name: str) -> None:
    degraded = ScoredClip(
        id="x",
        audio="x",
        text="",
        duration_s=1,
        scenario="noise",
        severity=severity,
        hypotheses={"s": Hypothesis(text="")},
    )
    clean = degraded.model_copy(update={"scenario": "clean", "severity": None})
    assert list(split_into_subgroups([degraded, clean])["severity"]) == ["clean", name]
