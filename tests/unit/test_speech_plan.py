"""The plan of the corpus of `small`: what may never meet, and what may never change."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from megaasr.config import load_recipe
from megaasr.errors import RecordError, UsageError
from megaasr.synthesize.kokoro import HELD_OUT_VOICES, VOICES, parse_mixture
from megaasr.synthesize.plan import PlannedClip, handwritten_sentences, split_of
from megaasr.synthesize.sentences import generate_sentences, normalize
from megaasr.synthesize.speakers import draw_speaker
from megaasr.synthesize.speech_plan import SpeechPlan, SpeechRecipe, plan_speech
from megaasr.synthesize.text_sentences import SourceSentence, read_sentences
from megaasr.synthesize.voices import Voice

SIZES = [
    *("parts=3", "part_spoken=200", "part_nonspeech=6", "part_joined=4", "dev=20", "test=40"),
    *("test_held_out=60", "joined=3", "nonspeech_dev=2", "nonspeech_test=3", "seed=20261128"),
    *("shares={kokoro = 0.22, hibari = 0.4, flite = 0.25, espeak = 0.13}", "mixtures=0.5"),
    *("second_voice=0.15", "handwritten=true"),
]
SHIPPED = load_recipe(SpeechRecipe, "synthesize-small", SIZES)
RECIPE = SHIPPED.model_copy(update={"later_shares": None})
# Made on 2026-11-28, when the corpus of `small` was begun: clips made before must stay valid.
PLAN = "96cf634336785bb6ecc6c4dcab2617b07e870fc4a0fcc2a1fd7965148151f5c0"
TEXTS = [SourceSentence(text, "generator", "statement") for text in generate_sentences(2_500, 3)]


@pytest.fixture(scope="module")
def plan() -> SpeechPlan:
    return plan_speech(RECIPE, TEXTS)


def everything(plan: SpeechPlan) -> list[PlannedClip]:
    return [clip for name in plan.lists() for clip in plan.clips(name)]


def toml(table: dict[str, float]) -> str:
    return "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"


def engine(clip: PlannedClip) -> str:
    assert clip.voice is not None
    return clip.voice.engine


def kokoro_members(clip: PlannedClip) -> set[str]:
    if clip.voice is None or clip.voice.engine != "kokoro":
        return set()
    return {member.split("*")[0] for member in clip.voice.name.split("+")}


def digest(clips: list[PlannedClip]) -> str:
    lines = (json.dumps(asdict(clip), sort_keys=True) for clip in clips)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_the_plan_never_changes(plan: SpeechPlan) -> None:
    lists = ("train-000", "dev", "train-001", "test", "train-002")
    assert digest([clip for name in lists for clip in plan.clips(name)]) == PLAN


def test_the_plan_depends_on_recipe_and_sentences_only(plan: SpeechPlan) -> None:
    np.random.seed(77)
    shuffled = [TEXTS[int(index)] for index in np.random.permutation(len(TEXTS))]
    again = plan_speech(RECIPE, shuffled)
    assert everything(again) == everything(plan)
    reseeded = plan_speech(RECIPE.model_copy(update={"seed": 5}), TEXTS)
    assert everything(reseeded) != everything(plan)


def test_more_parts_change_nothing_of_the_earlier_ones(plan: SpeechPlan) -> None:
    # Twenty parts use the sentences more than once.
    grown = plan_speech(RECIPE.model_copy(update={"parts": 20}), TEXTS)
    for name in plan.lists():
        assert grown.clips(name) == plan.clips(name)
    texts = [normalize(c.text) for c in everything(grown) if c.id.startswith("train-p") and c.voice]
    assert len(texts) == 20 * 200 > len(grown.by_split["train"])
    assert len({clip.id for clip in everything(grown)}) == len(everything(grown))
    spoken: dict[str, set[Voice]] = {}
    for clip in everything(grown):
        if clip.voice is not None:
            spoken.setdefault(clip.text, set()).add(clip.voice)
    assert min(len(spoken[c.text]) for c in grown.clips("train-000") if c.voice) > 1


def test_counts_are_as_asked(plan: SpeechPlan) -> None:
    written = len(handwritten_sentences())
    for number in range(3):
        kinds = Counter(clip.kind for clip in plan.clips(f"train-{number:03d}"))
        assert kinds == {"sentence": 200, "nonspeech": 6, "joined": 8}
    dev = Counter(clip.kind for clip in plan.clips("dev"))
    assert dev == {"sentence": 20, "nonspeech": 2, "joined": 6}
    assert Counter((c.kind, c.held_out) for c in plan.clips("test")) == {
        ("sentence", False): 40 + written,
        ("sentence", True): 60 + written,
        ("nonspeech", False): 3,
        ("joined", False): 6,
    }
    assert plan.lists() == ["train-000", "dev", "train-001", "train-002", "test"]


def test_later_parts_have_shares_of_their_own(plan: SpeechPlan) -> None:
    shares = {"kokoro": 0.05, "hibari": 0.6, "flite": 0.25, "espeak": 0.1}
    recipe = load_recipe(SpeechRecipe, "synthesize-small", [*SIZES, f"later_shares={toml(shares)}"])
    other = plan_speech(recipe, TEXTS)
    for name in ("train-000", "dev", "test"):
        assert other.clips(name) == plan.clips(name)
    for name in ("train-001", "train-002"):
        counts = Counter(engine(clip) for clip in other.clips(name) if clip.voice)
        assert counts == {"kokoro": 10, "hibari": 120, "flite": 50, "espeak-ng": 20}


def test_splits_are_by_the_words_alone(plan: SpeechPlan) -> None:
    written = {normalize(text) for text in handwritten_sentences()}
    for clip in everything(plan):
        if clip.kind == "sentence" and clip.source != "handwritten":
            assert split_of(clip.text) == clip.split
            assert normalize(clip.text) not in written
    doubled = [*TEXTS, *(SourceSentence(t.text.upper(), "other", "x") for t in TEXTS)]
    assert everything(plan_speech(RECIPE, doubled)) == everything(plan)


def test_held_out_voices_speak_in_the_held_out_test_only(plan: SpeechPlan) -> None:
    held_out = {"af_sarah", "am_michael", "am_puck", "bf_emma"}
    assert set(HELD_OUT_VOICES) == held_out
    assert len(VOICES) == 24
    assert not held_out & set(VOICES)
    for clip in everything(plan):
        if clip.voice is None:
            continue
        if clip.held_out:
            assert clip.id.startswith(("test-v", "test-x"))
            assert engine(clip) != "hibari"
            assert kokoro_members(clip) <= held_out
            assert clip.voice.scale == 1.0
        else:
            assert not kokoro_members(clip) & held_out
            assert clip.voice.name != "awb"
            assert not clip.voice.name.startswith("en-gb-scotland")
            assert not clip.voice.name.endswith(("+f5", "+m7"))
    counts = Counter(m for c in plan.clips("test") if c.held_out for m in kokoro_members(c))
    assert set(counts) == held_out


def test_no_mixture_of_any_size_has_a_held_out_voice() -> None:
    rng = np.random.default_rng(5)
    sizes: Counter[int] = Counter()
    members: set[str] = set()
    for _ in range(2_000):
        voice = draw_speaker("kokoro", rng, held_out=False, mixtures=0.5)
        weights = parse_mixture(voice.name)
        assert sum(weights.values()) == pytest.approx(1.0)
        assert min(weights.values()) >= 0.09
        sizes[len(weights)] += 1
        members |= set(weights)
        assert 0.8 <= voice.stretch <= 1.25
    assert members == set(VOICES)
    assert sizes[1] == pytest.approx(1_000, abs=90)
    assert sizes[2] == pytest.approx(500, abs=80)
    assert set(sizes) == {1, 2, 3}


def test_every_part_has_the_shares_of_the_recipe(plan: SpeechPlan) -> None:
    for number in range(3):
        counts = Counter(engine(c) for c in plan.clips(f"train-{number:03d}") if c.voice)
        assert counts == {"kokoro": 44, "hibari": 80, "flite": 50, "espeak-ng": 26}
    held_out = Counter(engine(c) for c in plan.clips("test") if c.id.startswith("test-v"))
    # What hibari would have goes to Kokoro.
    assert held_out == {"kokoro": 37, "flite": 15, "espeak-ng": 8}


def test_a_prefix_of_a_part_is_a_balanced_sample(plan: SpeechPlan) -> None:
    for number in range(3):
        clips = plan.clips(f"train-{number:03d}")
        half = Counter(engine(clip) for clip in clips[: len(clips) // 2] if clip.voice)
        for name, expected in {"kokoro": 44, "hibari": 80, "flite": 50, "espeak-ng": 26}.items():
            # Hypergeometric: four standard deviations of half of them.
            assert half[name] == pytest.approx(expected / 2, abs=2 * expected**0.5)
        seconds = [index for index, clip in enumerate(clips) if clip.kind != "sentence"]
        assert min(seconds) < len(clips) / 2 < max(seconds)


def test_second_voices_are_other_speakers(plan: SpeechPlan) -> None:
    for number in range(3):
        speakers: dict[str, list[str]] = {}
        for clip in plan.clips(f"train-{number:03d}"):
            if clip.voice is not None:
                speakers.setdefault(clip.text, []).append(clip.voice.speaker)
        twice = [names for names in speakers.values() if len(names) > 1]
        assert len(twice) == 30
        assert all(len(set(names)) == len(names) == 2 for names in twice)


def test_joined_clips_hold_clips_of_their_list(plan: SpeechPlan) -> None:
    for name in plan.lists():
        clips = {clip.id: clip for clip in plan.clips(name)}
        for clip in clips.values():
            if clip.kind == "joined":
                parts = [clips[part] for part in clip.parts]
                assert len(parts) == len(clip.pauses_s) >= 1
                assert clip.text == " ".join(part.text for part in parts)
                assert not any(part.held_out for part in parts)


def test_too_few_sentences_are_refused() -> None:
    with pytest.raises(UsageError, match=r"has \d+ test sentences, and the recipe needs 9\d\d\d"):
        plan_speech(RECIPE.model_copy(update={"test": 9_000}), TEXTS).clips("test")
    with pytest.raises(UsageError, match="no sentence for training"):
        plan_speech(RECIPE, []).clips("train-000")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("shares.kokoro=0.5", "must sum to 1"),
        ("parts=-1", "parts"),
        ("second_voice=0.7", "second_voice"),
        ("voices=3", "unknown key voices"),
    ],
)
def test_impossible_recipes_are_refused(override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe(SpeechRecipe, "synthesize-small", [override])


def test_sentences_are_read_and_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "sentences.jsonl"
    with pytest.raises(UsageError, match="make the text first"):
        read_sentences(path)
    good = json.dumps({"text": "It is late.", "source": "fortunes", "kind": "statement"})
    path.write_text(good + "\n")
    assert read_sentences(path) == [SourceSentence("It is late.", "fortunes", "statement")]
    for bad in ('{"text": "Hello there."}', "[]", "{", '{"text": "", "source": "a", "kind": "b"}'):
        path.write_text(f"{good}\n{bad}\n")
        with pytest.raises(RecordError, match="line 2"):
            read_sentences(path)
    path.write_text("")
    with pytest.raises(UsageError, match="holds no sentence"):
        read_sentences(path)


def test_joined_clips_are_filled_by_the_estimate_of_the_recipe(plan: SpeechPlan) -> None:
    fuller = plan_speech(RECIPE.model_copy(update={"joined_word_s": 0.37}), TEXTS)

    def words(which: SpeechPlan, limit: str) -> float:
        clips = [c for name in which.lists() for c in which.clips(name) if limit in c.id]
        return float(np.mean([len(clip.text.split()) for clip in clips]))

    for limit in ("-j15-", "-j30-"):
        assert 1.08 < words(fuller, limit) / words(plan, limit) < 1.4
    single = [c for c in everything(plan) if c.kind != "joined"]
    assert [c for c in everything(fuller) if c.kind != "joined"] == single
