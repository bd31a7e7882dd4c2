"""The plan of a corpus: what is drawn, and above all what must never meet."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from megaasr.config import load_recipe
from megaasr.errors import UsageError
from megaasr.synthesize.plan import (
    CorpusRecipe,
    PlannedClip,
    handwritten_sentences,
    plan_corpus,
    random_stream,
    split_of,
)
from megaasr.synthesize.sentences import normalize
from megaasr.synthesize.voices import ESPEAK_ACCENTS, ESPEAK_VARIANTS, FLITE_VOICES

COUNTS = {
    "seed": 5,
    "train": 400,
    "dev": 30,
    "test": 50,
    "test_held_out": 150,
    "handwritten": True,
    "joined": 12,
    "nonspeech_train": 20,
    "nonspeech_dev": 4,
    "nonspeech_test": 6,
}
RECIPE = CorpusRecipe(**COUNTS)


@pytest.fixture(scope="module")
def plan() -> list[PlannedClip]:
    return plan_corpus(RECIPE)


def fingerprint(plan: list[PlannedClip]) -> str:
    return hashlib.sha256(repr(plan).encode()).hexdigest()


def spoken(plan: list[PlannedClip]) -> list[PlannedClip]:
    return [clip for clip in plan if clip.kind == "sentence"]


def is_held_out(clip: PlannedClip) -> bool:
    """From the names in the documentation, not from the code's lists."""
    assert clip.voice is not None
    if clip.voice.engine == "flite":
        return clip.voice.name == "awb"
    accent, variant = clip.voice.name.split("+")
    return accent == "en-gb-scotland" or variant in {"f5", "m7"}


def test_the_plan_depends_on_the_recipe_only(plan: list[PlannedClip]) -> None:
    np.random.seed(123)
    assert plan_corpus(CorpusRecipe(**COUNTS)) == plan
    reseeded = plan_corpus(CorpusRecipe(**{**COUNTS, "seed": 6}))
    assert not {c.text for c in spoken(reseeded) if c.source == "generator"} & {
        c.text for c in spoken(plan) if c.source == "generator" and len(c.text.split()) > 8
    }
    # Sets of strings are ordered otherwise in every process.
    script = (
        "import hashlib; from megaasr.synthesize.plan import CorpusRecipe, plan_corpus; "
        f"plan = plan_corpus(CorpusRecipe(**{COUNTS!r})); "
        "print(hashlib.sha256(repr(plan).encode()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == fingerprint(plan)


def test_counts_are_as_asked(plan: list[PlannedClip]) -> None:
    written = len(handwritten_sentences())
    assert Counter((c.split, c.source, c.kind, c.held_out) for c in plan) == {
        ("train", "generator", "sentence", False): 400,
        ("dev", "generator", "sentence", False): 30,
        ("test", "generator", "sentence", False): 50,
        ("test", "generator", "sentence", True): 150,
        ("test", "handwritten", "sentence", False): written,
        ("test", "handwritten", "sentence", True): written,
        ("test", "generator", "joined", False): 24,
        ("train", "nonspeech", "nonspeech", False): 20,
        ("dev", "nonspeech", "nonspeech", False): 4,
        ("test", "nonspeech", "nonspeech", False): 6,
    }
    assert len({clip.id for clip in plan}) == len(plan)
    for clip in plan:
        assert bool(clip.text) == (clip.kind != "nonspeech")
        assert (clip.voice is not None) == (clip.kind == "sentence")
        assert bool(clip.parts) == (clip.kind == "joined")


def test_nothing_is_planned_when_nothing_is_asked() -> None:
    empty = CorpusRecipe(**{**dict.fromkeys(COUNTS, 0), "handwritten": False})
    assert plan_corpus(empty) == []
    only_joins = CorpusRecipe(**{**dict.fromkeys(COUNTS, 0), "handwritten": False, "joined": 3})
    assert plan_corpus(only_joins) == []  # no test sentences to join


@pytest.mark.parametrize("override", ["seed=-1", "train=-1", "joined=-3", "handwritten=often"])
def test_impossible_recipes_are_refused(override: str) -> None:
    with pytest.raises(UsageError, match=override.partition("=")[0]):
        load_recipe(CorpusRecipe, "synthesize-tiny", [override])


def test_no_sentence_is_in_two_splits(plan: list[PlannedClip]) -> None:
    splits: dict[str, set[str]] = {}
    for clip in spoken(plan):
        splits.setdefault(normalize(clip.text), set()).add(clip.split)
    assert [text for text, splits_of_text in splits.items() if len(splits_of_text) > 1] == []
    generated = [normalize(c.text) for c in spoken(plan) if c.source == "generator"]
    assert len(set(generated)) == len(generated)
    written = {normalize(text) for text in handwritten_sentences()}
    assert not written & set(generated)


def test_the_split_is_a_matter_of_the_words_alone(plan: list[PlannedClip]) -> None:
    for clip in spoken(plan):
        if clip.source == "generator":
            assert split_of(clip.text) == clip.split
            assert split_of(clip.text.upper().replace(",", "").strip(".?!")) == clip.split
    shares = Counter(split_of(f"sentence number {'x' * n}") for n in range(6_000))
    assert shares["test"] / 6_000 == pytest.approx(0.06, abs=0.01)
    assert shares["dev"] / 6_000 == pytest.approx(0.03, abs=0.01)


def test_a_handwritten_sentence_is_never_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    small = CorpusRecipe(**{**dict.fromkeys(COUNTS, 0), "train": 40, "handwritten": False})
    first = plan_corpus(small)[0].text
    # Suppose somebody had written the same words down, with other punctuation.
    monkeypatch.setattr(
        "megaasr.synthesize.plan.handwritten_sentences", lambda: [first.lower().rstrip(".?!") + ","]
    )
    assert normalize(first) not in {normalize(c.text) for c in plan_corpus(small)}


def test_held_out_voices_speak_in_the_held_out_test_only(plan: list[PlannedClip]) -> None:
    for clip in spoken(plan):
        assert is_held_out(clip) is clip.held_out, clip
    assert {clip.split for clip in plan if clip.held_out} == {"test"}
    held_out = [clip.voice for clip in spoken(plan) if clip.held_out and clip.voice]
    kinds = Counter(
        "awb"
        if voice.engine == "flite"
        else "scotland"
        if "scotland" in voice.name
        else voice.name.split("+")[1]
        for voice in held_out
    )
    # Half are flite's speaker, the three others share the rest. Limits: 4 standard deviations.
    assert set(kinds) == {"awb", "scotland", "f5", "m7"}
    count = len(held_out)
    assert kinds["awb"] == pytest.approx(count / 2, abs=2 * count**0.5)
    for name in ("scotland", "f5", "m7"):
        assert kinds[name] == pytest.approx(count / 6, abs=1.5 * count**0.5)
    # An unheard accent with a heard speaker, or the other way round, never both.
    for voice in held_out:
        if voice.engine == "espeak-ng":
            accent, variant = voice.name.split("+")
            assert (accent in ESPEAK_ACCENTS) != (variant in ESPEAK_VARIANTS)
        assert voice.scale == 1.0


def test_training_hears_every_trained_voice(plan: list[PlannedClip]) -> None:
    voices = [clip.voice for clip in spoken(plan) if clip.split == "train" and clip.voice]
    flite = Counter(voice.name for voice in voices if voice.engine == "flite")
    assert set(flite) == set(FLITE_VOICES) == {"slt", "rms", "kal16"}
    assert flite.total() == pytest.approx(len(voices) / 2, abs=2 * len(voices) ** 0.5)
    espeak = [voice.name.split("+") for voice in voices if voice.engine == "espeak-ng"]
    assert {accent for accent, _ in espeak} == set(ESPEAK_ACCENTS)
    assert len({variant for _, variant in espeak}) > 0.9 * len(ESPEAK_VARIANTS)
    for name, low, high in (
        ("stretch", 0.85, 1.25),
        ("scale", 0.869, 1.151),
        ("peak_db", -24, -1),
    ):
        values = [getattr(voice, name) for voice in voices]
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high
    octaves = np.log([voice.pitch for voice in voices])
    assert np.mean(octaves) == pytest.approx(0.0, abs=0.03)
    assert np.std(octaves) == pytest.approx(0.12, abs=0.02)


def test_handwritten_sentences_are_spoken_by_both_kinds_of_voice(plan: list[PlannedClip]) -> None:
    written = [clip for clip in plan if clip.source == "handwritten"]
    for held_out in (False, True):
        texts = [clip.text for clip in written if clip.held_out is held_out]
        assert texts == handwritten_sentences()


def test_joined_clips_hold_test_clips_once_each(plan: list[PlannedClip]) -> None:
    by_id = {clip.id: clip for clip in plan}
    joined = [clip for clip in plan if clip.kind == "joined"]
    assert Counter(clip.id.rsplit("-", 1)[0] for clip in joined) == {
        "test-j15": 12,
        "test-j30": 12,
    }
    for clip in joined:
        parts = [by_id[part] for part in clip.parts]
        assert 1 <= len(parts) == len(clip.pauses_s)
        assert len(set(clip.parts)) == len(clip.parts)
        for part in parts:
            assert (part.split, part.kind, part.source) == ("test", "sentence", "generator")
            assert not part.held_out
        assert clip.text == " ".join(part.text for part in parts)
        assert all(0.3 <= pause <= 1.2 for pause in clip.pauses_s)
    sizes = {
        limit: np.mean([len(c.parts) for c in joined if limit in c.id]) for limit in ("j15", "j30")
    }
    assert sizes["j30"] > 1.5 * sizes["j15"]
    assert len({clip.parts for clip in joined}) == len(joined)


def test_every_clip_has_a_stream_of_its_own() -> None:
    draws = {
        (seed, clip): tuple(random_stream(seed, clip).integers(2**32, size=4))
        for seed in (1, 2)
        for clip in ("train-s000001", "train-s000002", "test-h000001", "test-h000001x")
    }
    assert len(set(draws.values())) == len(draws)
    again = random_stream(1, "train-s000001").integers(2**32, size=4)
    assert tuple(again) == draws[1, "train-s000001"]
