"""Measuring a predictable model on a manifest of real files, the summary, and the model card."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megaasr.audio import files
from megaasr.audio.waveform import Waveform
from megaasr.errors import AudioError, AudioNotFoundError, RecordError
from megaasr.model.interface import Recognition, Request, SpeechModel
from megaasr.progress import OnRemarkedProgress
from megaasr.publish import base_model
from megaasr.publish.base_model import measure_model
from megaasr.records import Utterance, read_manifest, write_manifest
from megaasr.report import model_card as card_module
from megaasr.report.model_card import model_card, results_table
from megaasr.score import running
from megaasr.score.corpus_summary import summarize


class LevelModel:
    """Recognises the sentence that belongs to the level of the audio, 100 steps of 16 bit apart."""

    name = "levels"
    has_robust_route = False

    def __init__(self, sentences: Sequence[str], *, budget_hits: Sequence[int] = ()) -> None:
        self.sentences = sentences
        self.budget_hits = budget_hits
        self.batches: list[int] = []

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        self.batches.append(len(requests))
        return [self._recognize(request) for request in requests]

    def _recognize(self, request: Request) -> Recognition:
        assert request.samples.dtype == np.float32
        number = round(float(request.samples.mean()) * 2**15 / 100)
        text = self.sentences[number]
        language = "en" if text else None
        return Recognition(text, language, 1, number in self.budget_hits, text)


def speech(
    text: str,
    hypothesis: str,
    *,
    speaker: str = "flite:slt",
    source: str = "generator",
    held_out: bool = False,
    duration_s: float = 2.0,
    **more: Any,
) -> tuple[str, str, dict[str, Any]]:
    extra = {"duration_s": duration_s, "source": source, "speaker": speaker}
    return text, hypothesis, {**extra, "held_out_voice": held_out, **more}


def silence(hypothesis: str) -> tuple[str, str, dict[str, Any]]:
    return "", hypothesis, {"duration_s": 1.0, "source": "nonspeech"}


CASES = [
    # Trained voices: 1 substitution in 3 + 4 + 3 words; the joined clip counts by length only.
    speech("One two three.", "one two three", duration_s=5.0),
    speech("One two three four.", "one two tree four", duration_s=5.01),
    speech("Five six seven!", "five six seven", duration_s=15.0, speaker="espeak-ng:en-us+m1"),
    speech("a b c d e", "a c d e", duration_s=29.9, speaker="several", parts=["x", "y"]),
    # Held-out voices.
    speech("hello there", "hello there", held_out=True, speaker="flite:awb"),
    speech("good morning", "morning", held_out=True, speaker="flite:awb"),
    speech("good night", "good night now", held_out=True, speaker="espeak-ng:en-gb-scotland+f1"),
    speech("see you", "", held_out=True, speaker="espeak-ng:en-us+f5"),
    speech("see me", "see me", held_out=True, speaker="espeak-ng:en-029+m7"),
    # Hand-written sentences.
    speech("Red, blue.", "red blue", source="handwritten"),
    speech("Red, blue.", "read blew", source="handwritten", held_out=True, speaker="flite:awb"),
    # No speech.
    silence(""),
    silence("thank you"),
    silence(""),
    silence(""),
]
HYPOTHESES = [hypothesis for _, hypothesis, _ in CASES]
GROUPS = {
    "generator, trained voices": (3, 10, 1, 0, 0),
    "generator, held-out voices": (5, 10, 0, 3, 1),
    "hand-written, trained voices": (1, 2, 0, 0, 0),
    "hand-written, held-out voices": (1, 2, 2, 0, 0),
    "trained voices, up to 5 s": (1, 3, 0, 0, 0),
    "trained voices, 5 to 15 s": (2, 7, 1, 0, 0),
    "trained voices, 15 to 30 s": (1, 5, 0, 1, 0),
    "voice espeak-ng en-gb-scotland": (1, 2, 0, 0, 1),
    "voice espeak-ng f5": (1, 2, 0, 2, 0),
    "voice espeak-ng m7": (1, 2, 0, 0, 0),
    "voice flite awb": (2, 4, 0, 1, 0),
}


def write_corpus(folder: Path, cases: Sequence[tuple[str, str, dict[str, Any]]]) -> Path:
    (folder / "audio").mkdir()
    utterances = []
    for number, (text, _, extra) in enumerate(cases):
        level = np.full(1_600, 100 * number / 2**15, dtype=np.float32)
        files.write(folder / "audio" / f"{number}.wav", Waveform(level, 16_000))
        language = "en" if text else None
        utterances.append(Utterance(f"c{number}", f"audio/{number}.wav", text, language, extra))
    write_manifest(folder / "test.jsonl", utterances)
    return folder / "test.jsonl"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_corpus(tmp_path, CASES)


def measured(
    model: SpeechModel,
    manifest: Path,
    on_progress: OnRemarkedProgress = lambda done, total, remark: None,
) -> dict[str, Any]:
    result, test_set = measure_model(model, manifest, on_progress=on_progress)
    return summarize(result, test_set.clips)


@pytest.fixture
def results(manifest: Path) -> dict[str, Any]:
    return measured(LevelModel(HYPOTHESES, budget_hits=(2, 12)), manifest)


def test_every_clip_is_scored_in_order(manifest: Path) -> None:
    result, test_set = measure_model(LevelModel(HYPOTHESES), manifest)
    utterances = list(read_manifest(manifest))
    assert [clip.record for clip in test_set.clips] == [u.to_dict() for u in utterances]
    assert [clip.id for clip in result.clips] == [utterance.id for utterance in utterances]
    hypotheses = [clip.hypotheses["levels"] for clip in result.clips]
    assert [hypothesis.text for hypothesis in hypotheses] == HYPOTHESES
    errors = [hypothesis.errors("bench").errors for hypothesis in hypotheses]
    assert errors == [0, 1, 0, 1, 0, 1, 1, 2, 0, 0, 2, 0, 2, 0, 0]


class Clock:
    """A clock that only moves when it is told to, and by a little whenever it is read."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def perf_counter(self) -> float:
        self.now_s += 0.25
        return self.now_s


def test_only_recognition_is_timed(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()

    class Slow(LevelModel):
        def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
            clock.now_s += len(requests)
            return super().recognize(requests)

    def dawdle(done: int, total: int, remark: str) -> None:
        clock.now_s += 100

    monkeypatch.setattr(running, "time", clock)
    monkeypatch.setattr(base_model, "_CLIPS_AT_ONCE", 6)
    model = Slow(HYPOTHESES)
    result, _ = measure_model(model, manifest, on_progress=dawdle)
    assert model.batches == [6, 6, 3]
    assert result.systems[0].seconds == len(CASES) + 3 * 0.25


def test_groups_have_their_clips_words_and_errors(results: dict[str, Any]) -> None:
    rates = results["word_error_rate"]
    assert list(rates) == list(GROUPS)
    for name, (clips, words, substitutions, deletions, insertions) in GROUPS.items():
        group = rates[name]
        assert (group["clips"], group["words"]) == (clips, words), name
        assert (group["substitutions"], group["deletions"], group["insertions"]) == (
            substitutions,
            deletions,
            insertions,
        )
        assert group["hits"] == words - substitutions - deletions
        errors = substitutions + deletions + insertions
        assert group["rate"] == pytest.approx(errors / words, abs=1e-5)
        assert group["interval"] is None  # of so few clips


def test_clips_without_speech_and_budget_hits_are_counted(results: dict[str, Any]) -> None:
    nonspeech = results["nonspeech"]
    assert (nonspeech["clips"], nonspeech["with_words"], nonspeech["rate"]) == (4, 1, 0.25)
    assert nonspeech["interval"] is None
    assert results["token_budget_hits"] == 2
    assert results["audio_s"] == round(sum(extra["duration_s"] for _, _, extra in CASES), 1)
    assert (results["schema"], results["normalizer"]) == (1, "bench")


def test_the_summary_is_repeatable(manifest: Path, results: dict[str, Any]) -> None:
    assert measured(LevelModel(HYPOTHESES, budget_hits=(2, 12)), manifest) == results


def test_groups_without_clips_are_left_out(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path, CASES[:1])
    summary = measured(LevelModel(["one two three"]), manifest)
    assert list(summary["word_error_rate"]) == [
        "generator, trained voices",
        "trained voices, up to 5 s",
    ]
    assert summary["nonspeech"] is None


def test_long_manifests_are_read_in_parts(tmp_path: Path) -> None:
    cases = [speech(f"number {n}", f"number {n}") for n in range(150)]
    manifest = write_corpus(tmp_path, cases)
    model, progress = LevelModel([hypothesis for _, hypothesis, _ in cases]), []
    result, test_set = measure_model(
        model, manifest, on_progress=lambda done, total, remark: progress.append((done, total))
    )
    assert sum(model.batches) == 150
    assert len(model.batches) > 1
    assert max(model.batches) <= 128
    assert progress[-1] == (150, 150)
    assert result.overall.rates["levels"]["bench"].rate == 0
    summary = summarize(result, test_set.clips)
    assert summary["word_error_rate"]["generator, trained voices"]["interval"] == [0.0, 0.02429]


def test_a_missing_file_is_named(manifest: Path) -> None:
    (manifest.parent / "audio" / "3.wav").unlink()
    with pytest.raises(AudioNotFoundError, match=r"audio/3\.wav"):
        measure_model(LevelModel(HYPOTHESES), manifest)


def test_a_file_without_audio_is_named(manifest: Path) -> None:
    (manifest.parent / "audio" / "3.wav").write_bytes(b"no sound")
    with pytest.raises(AudioError, match=r"audio/3\.wav"):
        measure_model(LevelModel(HYPOTHESES), manifest)


def test_a_manifest_of_another_kind_is_refused(manifest: Path) -> None:
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    del rows[4]["source"]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(
        RecordError, match="clip c4 is not from a synthesised corpus: no field source"
    ):
        measured(LevelModel(HYPOTHESES), manifest)


def template_fields() -> list[tuple[str, str]]:
    parsed = string.Formatter().parse(card_module._CARD)
    return [(name, form or "") for _, name, form, _ in parsed if name]


MADE_FROM_RESULTS = {"table", "nonspeech_sentence", "budget_sentence"}


def facts() -> dict[str, Any]:
    """A value for every field that can be found again in the card."""
    names = {name: form for name, form in template_fields() if name not in MADE_FROM_RESULTS}
    return {
        name: 1000 + number + 0.25 if form.endswith("f") else f"<{name}>"
        for number, (name, form) in enumerate(sorted(names.items()))
    }


def test_the_card_shows_every_fact(results: dict[str, Any]) -> None:
    values = facts()
    card = model_card(values, results)
    assert "{" not in card
    assert "}" not in card
    for name, form in template_fields():
        if name not in MADE_FROM_RESULTS:
            assert format(values[name], form) in card, name
    assert results_table(results) in card
    assert "Words on 1 of 4 clips without speech (25.0 %, interval too few clips)." in card
    assert "The token budget ended the text of 2 clips." in card
    assert card.startswith("---\nlicense: apache-2.0\n")


def test_a_fact_may_hold_braces(results: dict[str, Any]) -> None:
    assert "a {strange} name" in model_card({**facts(), "name": "a {strange} name"}, results)


def test_a_missing_fact_is_an_error(results: dict[str, Any]) -> None:
    values = facts()
    del values["hardware"]
    with pytest.raises(KeyError, match="hardware"):
        model_card(values, results)


def test_a_card_without_nonspeech_clips(results: dict[str, Any]) -> None:
    card = model_card(facts(), {**results, "nonspeech": None})
    assert "No test clip was without speech." in card


def test_the_table_has_a_row_per_group(results: dict[str, Any]) -> None:
    head, rule, *rows = results_table(results).splitlines()
    assert head == "| test clips | clips | words | WER % | 95 % interval | sub | del | ins |"
    assert rule.count("|") == head.count("|") == 9
    assert len(rows) == len(GROUPS)
    cells = {}
    for row in rows:
        name, *values = [cell.strip() for cell in row.strip("|").split("|")]
        cells[name] = values
    assert list(cells) == list(GROUPS)
    assert cells["generator, held-out voices"] == [
        "5",
        "10",
        "40.0",
        "too few clips",
        "0",
        "3",
        "1",
    ]
