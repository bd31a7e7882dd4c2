"""A small corpus of `small`'s kind made for real: it grows, resumes, and says what failed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from megaasr.cli.main import main
from megaasr.config import load_recipe
from megaasr.errors import SynthesisError, UsageError
from megaasr.locking import exclusive
from megaasr.records import Utterance, read_manifest
from megaasr.synthesize.engines import missing_files
from megaasr.synthesize.sentences import generate_sentences
from megaasr.synthesize.speech_corpus import synthesize_speech
from megaasr.synthesize.speech_plan import SpeechRecipe, plan_speech
from megaasr.synthesize.text_sentences import read_sentences
from megaasr.synthesize.voices import Voice

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("flite", "espeak-ng"))),
    reason="flite and espeak-ng are not installed (apt-get install flite espeak-ng)",
)
ENGINES = Path(os.environ.get("MEGA_ASR_ENGINES", "corpus/engines"))
WITHOUT_ENGINES = pytest.mark.skipif(
    bool(missing_files(ENGINES)), reason=f"{ENGINES} has no engines (make voices)"
)
PROGRAMS = "shares={kokoro = 0, hibari = 0, flite = 0.6, espeak = 0.4}"
PROGRAMS_ONLY = (PROGRAMS, f"later_{PROGRAMS}")


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "sentences.jsonl"
    records = (
        {"text": text, "source": "generator", "kind": "statement"}
        for text in generate_sentences(400, 8)
    )
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def options(sentences: Path, *more: str) -> list[str]:
    return [
        *("part_spoken=5", "part_nonspeech=1", "part_joined=1", "dev=1", "test=2"),
        *("test_held_out=2", "joined=1", "nonspeech_dev=1", "nonspeech_test=1"),
        *("handwritten=false", "second_voice=0.2", f"sentences={sentences}"),
        *(f"engines={ENGINES}", *more),
    ]


def small(sentences: Path, *more: str) -> SpeechRecipe:
    return load_recipe(
        SpeechRecipe, "synthesize-small", options(sentences, *PROGRAMS_ONLY, "parts=2", *more)
    )


@pytest.fixture(scope="module")
def reference(sentences: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus made in one go; tests must not write into it."""
    folder = tmp_path_factory.mktemp("corpus")
    assert synthesize_speech(small(sentences), folder, workers=3) == []
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def clips(path: Path) -> list[Utterance]:
    return list(read_manifest(path))


def test_lists_hold_what_was_planned(reference: Path, sentences: Path) -> None:
    plan = plan_speech(small(sentences), read_sentences(sentences))
    for name in plan.lists():
        utterances = clips(reference / f"{name}.jsonl")
        assert [(u.id, u.text) for u in utterances] == [(c.id, c.text) for c in plan.clips(name)]
        for utterance, clip in zip(utterances, plan.clips(name), strict=True):
            info = soundfile.info(reference / utterance.audio)
            assert (info.samplerate, info.channels, info.format) == (16_000, 1, "FLAC")
            assert info.duration == pytest.approx(utterance.extra["duration_s"], abs=0.001)
            assert 0.4 < info.duration <= 30.0
            if clip.voice is not None:
                speaker, manner = utterance.extra["speaker"], utterance.extra["voice"]
                assert Voice.from_dict(speaker, manner) == clip.voice
                assert info.duration > sum(clip.pauses_s) + 0.1 * len(clip.text.split())
    both = [u for number in (0, 1) for u in clips(reference / f"train-00{number}.jsonl")]
    assert clips(reference / "train.jsonl") == both
    held_out = [u for u in clips(reference / "test.jsonl") if u.extra.get("held_out_voice")]
    listed = [u for path in reference.glob("test-held-out-*.jsonl") for u in clips(path)]
    assert sorted(u.id for u in listed) == sorted(u.id for u in held_out)
    assert len(held_out) == 2


def test_pauses_are_silent_and_speech_is_not(reference: Path, sentences: Path) -> None:
    plan = plan_speech(small(sentences), read_sentences(sentences))
    lists = {u.id: u for n in plan.lists() for u in clips(reference / f"{n}.jsonl")}
    spoken_clips = 0
    for clip in (c for name in plan.lists() for c in plan.clips(name) if c.voice is not None):
        samples, _ = soundfile.read(reference / lists[clip.id].audio, dtype="float32")
        before, after = (round(16_000 * pause) for pause in clip.pauses_s)
        silent = np.concatenate([samples[:before], samples[len(samples) - after :]])
        if silent.size:
            spoken_clips += 1
            assert 0 < np.sqrt(np.mean(silent**2)) < 10**-3.2
        assert clip.voice is not None
        peak = 20 * np.log10(np.abs(samples).max())
        assert peak == pytest.approx(clip.voice.peak_db, abs=1.5)
    assert spoken_clips > 3


def test_a_corpus_that_grew_is_the_one_made_at_once(
    reference: Path, sentences: Path, tmp_path: Path
) -> None:
    grown = tmp_path / "grown"
    assert synthesize_speech(small(sentences, "parts=1"), grown, workers=1) == []
    assert clips(grown / "train.jsonl") == clips(grown / "train-000.jsonl")
    assert not (grown / "train-001.jsonl").exists()
    # An interrupted list: a clip is gone, another is cut off.
    lost, cut = (grown / u.audio for u in clips(grown / "train-000.jsonl")[:2])
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:30])
    (grown / "train-000.jsonl").unlink()
    moved = tmp_path / "moved.jsonl"
    shutil.copy(sentences, moved)  # where the text lies is not what the corpus depends on
    rows: list[tuple[int, int, float]] = []
    assert (
        synthesize_speech(small(moved), grown, workers=2, on_progress=lambda *row: rows.append(row))
        == []
    )
    assert content(grown) == content(reference)
    total = sum(len(clips(grown / f"{name}.jsonl")) for name in ("train", "dev", "test"))
    assert rows[-1][:2] == (total, total)


def test_other_sentences_or_recipes_are_refused(
    reference: Path, sentences: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"mixtures is .*; seed is \d+ there and 3 now"):
        synthesize_speech(small(sentences, "seed=3", "mixtures=0.1"), reference)
    with pytest.raises(UsageError, match=r"joined_word_s is unset there and 0\.37 now"):
        synthesize_speech(small(sentences, "joined_word_s=0.37"), reference)
    # A field with the value that it always had is no change.
    assert synthesize_speech(small(sentences, "joined_word_s=0.45"), reference) == []
    longer = tmp_path / "longer.jsonl"
    longer.write_text(sentences.read_text() * 2)
    with pytest.raises(UsageError, match="sentences_sha256 is"):
        synthesize_speech(small(longer), reference)
    with (
        exclusive(reference, UsageError("mine")),
        pytest.raises(UsageError, match="another process"),
    ):
        synthesize_speech(small(sentences), reference)


def test_failures_are_listed_and_stop_nothing(
    sentences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "espeak-ng").symlink_to(shutil.which("espeak-ng") or "")
    monkeypatch.setenv("PATH", str(programs))  # no flite
    folder = tmp_path / "corpus"
    failures = synthesize_speech(small(sentences, "joined=0", "part_joined=0"), folder)
    assert failures
    assert all("flite is not installed" in failure.reason for failure in failures)
    ids = {u.id for name in ("train", "dev", "test") for u in clips(folder / f"{name}.jsonl")}
    assert not ids & {failure.clip_id for failure in failures}
    monkeypatch.undo()
    assert synthesize_speech(small(sentences, "joined=0", "part_joined=0"), folder) == []
    assert {failure.clip_id for failure in failures} <= {
        u.id for name in ("train", "dev", "test") for u in clips(folder / f"{name}.jsonl")
    }


def test_engines_that_are_missing_stop_before_any_work(sentences: Path, tmp_path: Path) -> None:
    recipe = load_recipe(
        SpeechRecipe, "synthesize-small", options(sentences, f"engines={tmp_path / 'none'}")
    )
    with pytest.raises(SynthesisError, match="make voices"):
        synthesize_speech(recipe, tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()


@WITHOUT_ENGINES
@pytest.mark.slow
def test_all_engines_speak(sentences: Path, tmp_path: Path) -> None:
    arguments = [word for option in options(sentences, "parts=1") for word in ("--set", option)]
    for name, workers in (("one", "1"), ("two", "2")):
        folder = tmp_path / name
        command = ["synthesize", "synthesize-small", "-o", str(folder), "--workers", workers]
        with pytest.raises(SystemExit) as end:
            main([*command, *arguments, "--set", "part_spoken=12"])
        assert not end.value.code
    assert content(tmp_path / "one") == content(tmp_path / "two")
    speakers = {str(u.extra.get("speaker")) for u in clips(tmp_path / "one" / "train.jsonl")}
    assert {speaker.partition(":")[0] for speaker in speakers} >= {
        *("kokoro", "hibari", "flite", "espeak-ng")
    }
