"""A small corpus made for real: the same bytes however it was made, and honest failures."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hanging import HANGING_S
from megaasr.cli.main import main
from megaasr.errors import UsageError
from megaasr.records import Utterance, read_manifest
from megaasr.synthesize.corpus import clip_path, synthesize_corpus
from megaasr.synthesize.plan import SPLITS, CorpusRecipe, plan_corpus

PROGRAMS = ("flite", "espeak-ng")
WITHOUT = not all(map(shutil.which, PROGRAMS))
REASON = "flite and espeak-ng are not installed (apt-get install flite espeak-ng)"
needs_programs = pytest.mark.skipif(WITHOUT, reason=REASON)
RECIPE = CorpusRecipe(
    seed=4,
    train=3,
    dev=1,
    test=3,
    test_held_out=2,
    handwritten=False,
    joined=1,
    nonspeech_train=1,
    nonspeech_dev=1,
    nonspeech_test=1,
)
CLIPS = 14
SPEECH = 9


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus made in one go; tests must not write into it."""
    if WITHOUT:
        pytest.skip(REASON)
    folder = tmp_path_factory.mktemp("corpus")
    assert synthesize_corpus(RECIPE, folder, workers=3) == []
    return folder


@pytest.fixture
def copy(reference: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(reference, tmp_path / "copy"))


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    lines = [
        f"{name} = {json.dumps(value)}"
        for name, value in json.loads(RECIPE.resolved_json()).items()
    ]
    path = tmp_path / "small.toml"
    path.write_text("\n".join(lines))
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def clips(folder: Path, split: str) -> list[Utterance]:
    return list(read_manifest(folder / f"{split}.jsonl"))


def test_the_corpus_is_complete(reference: Path) -> None:
    plan = plan_corpus(RECIPE)
    assert len(plan) == CLIPS
    assert {name for name in content(reference) if name.endswith(".flac")} == {
        clip_path(clip.id) for clip in plan
    }
    for split in SPLITS:
        planned = [clip for clip in plan if clip.split == split]
        utterances = clips(reference, split)
        assert [(u.id, u.text) for u in utterances] == [(clip.id, clip.text) for clip in planned]
        for utterance, clip in zip(utterances, planned, strict=True):
            assert utterance.audio == clip_path(clip.id)
            assert utterance.language == ("en" if clip.text else None)
            assert utterance.extra["source"] == clip.source
            assert utterance.extra.get("held_out_voice") == (clip.held_out if clip.text else None)
            speaker = clip.voice.speaker if clip.voice else "several" if clip.parts else None
            assert utterance.extra.get("speaker") == speaker
            assert utterance.extra.get("voice") == (clip.voice.to_dict() if clip.voice else None)
            assert utterance.extra.get("parts", []) == list(clip.parts)


def test_the_number_of_workers_changes_no_byte(reference: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, float]] = []
    failures = synthesize_corpus(
        RECIPE, tmp_path / "one", workers=1, on_progress=lambda *row: seen.append(row)
    )
    assert failures == []
    assert content(tmp_path / "one") == content(reference)
    assert [(done, total) for done, total, _ in seen] == [(n, CLIPS) for n in range(1, CLIPS + 1)]
    audio_s = sum(u.extra["duration_s"] for split in SPLITS for u in clips(reference, split))
    assert seen[-1][2] == pytest.approx(audio_s, abs=0.01)


def test_durations_and_format_are_those_of_the_audio(reference: Path) -> None:
    for split in SPLITS:
        for utterance in clips(reference, split):
            info = soundfile.info(reference / utterance.audio)
            assert (info.samplerate, info.channels, info.format, info.subtype) == (
                16_000,
                1,
                "FLAC",
                "PCM_16",
            )
            assert utterance.extra["duration_s"] == pytest.approx(info.frames / 16_000, abs=5.1e-4)


def test_the_level_is_the_planned_one(reference: Path) -> None:
    for split in SPLITS:
        for utterance in clips(reference, split):
            if "voice" in utterance.extra:
                peak = np.abs(soundfile.read(reference / utterance.audio)[0]).max()
                # Resampling moves the peak a little.
                assert 20 * np.log10(peak) == pytest.approx(
                    utterance.extra["voice"]["peak_db"], abs=0.7
                )


def test_joined_clips_are_their_parts_with_pauses(reference: Path) -> None:
    planned = {clip.id: clip for clip in plan_corpus(RECIPE)}
    joined = [u for u in clips(reference, "test") if "parts" in u.extra]
    assert len(joined) == 2
    for utterance in joined:
        limit_s = int(utterance.id.split("-")[1].removeprefix("j"))
        samples, _ = soundfile.read(reference / utterance.audio)
        assert len(samples) <= limit_s * 16_000
        position = 0
        clip = planned[utterance.id]
        for part, pause_s in zip(clip.parts, clip.pauses_s, strict=True):
            speech, _ = soundfile.read(reference / clip_path(part))
            # The floor of noise has a standard deviation of 1e-4.
            assert np.abs(samples[position : position + len(speech)] - speech).max() < 7e-4
            position += len(speech)
            pause = samples[position : position + round(pause_s * 16_000)]
            assert 0.7e-4 < pause.std() < 1.4e-4
            position += len(pause)
        assert position == len(samples)


@needs_programs
def test_joined_clips_stay_below_their_limit(tmp_path: Path) -> None:
    many = RECIPE.model_copy(update={"train": 0, "dev": 0, "test": 12, "joined": 15, "seed": 8})
    assert synthesize_corpus(many, tmp_path, workers=2) == []
    joined = [u for u in clips(tmp_path, "test") if "parts" in u.extra]
    for limit_s in (15, 30):
        lengths = [u.extra["duration_s"] for u in joined if f"-j{limit_s}-" in u.id]
        assert len(lengths) == 15
        assert limit_s / 2 < max(lengths) <= limit_s


def test_interrupted_work_is_taken_up_again(copy: Path, reference: Path) -> None:
    for number, clip in enumerate(plan_corpus(RECIPE)):
        path = copy / clip_path(clip.id)
        if number % 3 == 0:
            path.unlink()
        elif number % 3 == 1:  # as if the machine had lost power while writing
            path.write_bytes(b"")
    (copy / "test.jsonl").unlink()
    leftover = copy / clip_path("train-s000000")
    (leftover.parent / f".{leftover.name}.0badc0de.part").write_bytes(b"fLaC\x00")
    (leftover.parent / ".train-s000000.wav").write_bytes(b"RIFF half a file")
    untouched = copy / clip_path("train-s000002")
    before = untouched.stat().st_mtime_ns
    assert synthesize_corpus(RECIPE, copy, workers=2) == []
    finished = {name: data for name, data in content(copy).items() if not name.endswith(".part")}
    assert finished == content(reference)
    assert untouched.stat().st_mtime_ns == before


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_a_killed_process_is_taken_up_again(
    reference: Path, recipe_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "killed"
    command = [sys.executable, "-m", "megaasr", "synthesize", str(recipe_file), "-o", str(output)]
    process = subprocess.Popen(
        [*command, "--workers", "1"], start_new_session=True, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + HANGING_S
    while len(list(output.rglob("*.flac"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(timeout=HANGING_S) == -signal.SIGKILL
    assert 2 <= len(list(output.rglob("*.flac"))) < CLIPS
    assert not list(output.glob("*.jsonl"))  # manifests tell of a whole corpus only
    assert synthesize_corpus(RECIPE, output, workers=2) == []
    finished = {name: data for name, data in content(output).items() if not name.endswith(".part")}
    assert finished == content(reference)


@pytest.mark.parametrize("change", [{"seed": 5}, {"nonspeech_test": 2}])
def test_another_recipe_in_the_same_folder_is_refused(
    copy: Path, reference: Path, change: dict[str, int]
) -> None:
    with pytest.raises(UsageError, match=r"another recipe: \S+ is .*recipe\.json.* another folder"):
        synthesize_corpus(RECIPE.model_copy(update=change), copy)
    assert content(copy) == content(reference)


def test_without_the_programs_every_speech_clip_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    failures = synthesize_corpus(RECIPE, tmp_path / "out", workers=2)
    plan = plan_corpus(RECIPE)
    assert [f.clip_id for f in failures] == [c.id for c in plan if c.kind != "nonspeech"]
    reasons = {failure.clip_id: failure.reason for failure in failures}
    for clip in plan:
        if clip.voice:
            assert f"{clip.voice.engine} is not installed" in reasons[clip.id]
            assert "apt-get install flite espeak-ng" in reasons[clip.id]
        elif clip.parts:
            assert clip_path(clip.parts[0]) in reasons[clip.id]
    ids = [u.id for split in SPLITS for u in clips(tmp_path / "out", split)]
    assert ids == ["train-n000000", "dev-n000000", "test-n000000"]


@needs_programs
def test_one_missing_program_fails_its_own_voices_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = shutil.which("espeak-ng")
    assert program is not None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "espeak-ng").symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    plain = RECIPE.model_copy(update={"joined": 0})
    failures = synthesize_corpus(plain, tmp_path / "out", workers=2)
    flite = [c.id for c in plan_corpus(plain) if c.voice and c.voice.engine == "flite"]
    assert 0 < len(flite) < SPEECH
    assert [failure.clip_id for failure in failures] == flite


def test_the_command_reports_failures_and_goes_on_when_they_are_mended(
    reference: Path,
    recipe_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out"
    (tmp_path / "bin").mkdir()
    with monkeypatch.context() as without:
        without.setenv("PATH", str(tmp_path / "bin"))
        with pytest.raises(SystemExit) as ended:
            main(["synthesize", str(recipe_file), "--output", str(output)])
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert printed.err.count("failed: ") == SPEECH + 2
    assert "apt-get install flite espeak-ng" in printed.err
    assert f"{SPEECH + 2} clips failed" in printed.out
    assert len(list(output.rglob("*.flac"))) == 3

    with pytest.raises(SystemExit) as ended:
        main(["synthesize", str(recipe_file), "--output", str(output), "--workers", "2"])
    assert ended.value.code == 0
    assert "0 clips failed" in capsys.readouterr().out
    assert content(output) == content(reference)

    with pytest.raises(SystemExit) as ended:
        main(["synthesize", str(recipe_file), "--output", str(output), "--set", "seed=9"])
    assert ended.value.code == 2
    assert "another recipe" in capsys.readouterr().err


def test_a_dry_run_makes_nothing(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["synthesize", str(recipe_file), "-o", str(tmp_path / "out"), "--dry-run"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == RECIPE.resolved_json()
    assert not (tmp_path / "out").exists()


def test_at_most_a_thousand_clips_share_a_folder() -> None:
    assert clip_path("train-s012345") == "audio/train/train-s012/train-s012345.flac"
    folders = {clip_path(f"train-s{n:06d}").rsplit("/", 1)[0] for n in range(3_000)}
    assert len(folders) == 3
