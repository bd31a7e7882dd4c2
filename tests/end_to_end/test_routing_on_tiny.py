"""The shipped model with its adapter and router: routes, checks, compare and inspect."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from megaasr import MegaASR
from megaasr.adapter.peft_layout import read_adapter
from megaasr.audio import files
from megaasr.audio.waveform import Waveform
from megaasr.cli.main import main
from megaasr.model.hub import find_model, find_model_parts
from megaasr.model.parts import fingerprint
from megaasr.simulate.noise_pool import NoisePool
from megaasr.simulate.simulator import Simulator
from megaasr.synthesize.nonspeech import KINDS
from megaasr.transcribe.options import ReliabilityOptions
from megaasr.transcribe.search import SearchOptions

RATE = 16_000
CLIPS = sorted((Path(files.__file__).parents[1] / "cli" / "demo_clips").glob("*-clean.flac"))
Samples = np.ndarray


@pytest.fixture(scope="module")
def asr() -> MegaASR:
    return MegaASR.load("tiny")


@pytest.fixture(scope="module")
def speech() -> list[Samples]:
    return [files.read(clip, sample_rate=RATE).samples for clip in CLIPS]


def degraded(samples: Samples, scenario: str = "noise", severity: float = 0.6) -> Samples:
    simulator = Simulator(NoisePool(split="test"))
    draw = simulator.draw(seed=3, scenario=scenario, severity=severity, utterance="u")
    return np.asarray(simulator.apply(Waveform(samples, RATE), draw).waveform.samples)


def test_tiny_has_the_three_parts_of_the_released_model() -> None:
    parts = find_model_parts("tiny")
    assert parts.adapter is not None
    assert parts.router is not None
    assert read_adapter(parts.adapter).base_fingerprint == fingerprint(parts.base)
    folder = find_model("tiny")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < 40e6


@pytest.mark.parametrize("kind", [*KINDS, "digital silence"])
def test_audio_without_speech_gives_no_words(asr: MegaASR, kind: str) -> None:
    rng = np.random.default_rng(11)
    for seconds, level in ((2, 0.5), (12, 0.05), (45, 0.2)):
        count = seconds * RATE
        sound = np.zeros(count) if kind == "digital silence" else KINDS[kind](rng, count)
        peak = max(1e-9, float(np.abs(sound).max()))
        transcript = asr.transcribe((sound / peak * level).astype(np.float32), sample_rate=RATE)
        assert transcript.text == "", (kind, seconds, transcript.segments)
        assert transcript.reason is not None


def test_the_router_separates_clean_from_degraded_speech(
    asr: MegaASR, speech: list[Samples]
) -> None:
    clean = asr.transcribe([Waveform(samples, RATE) for samples in speech])
    assert {transcript.segments[0].route for transcript in clean} == {"base"}
    noisy = asr.transcribe([Waveform(degraded(samples), RATE) for samples in speech])
    first_segments = [transcript.segments[0] for transcript in noisy]
    assert {segment.route for segment in first_segments} == {"robust"}
    assert all((segment.degraded_probability or 0.0) > 0.5 for segment in first_segments)


def test_only_the_degraded_middle_of_a_long_recording_is_routed(
    asr: MegaASR, speech: list[Samples]
) -> None:
    pause = np.zeros(RATE // 2, np.float32)
    part = np.concatenate([part for samples in speech for part in (samples, pause)])[: 28 * RATE]
    rms = float(np.sqrt(np.mean(np.square(part))))
    middle = degraded(part)
    middle = middle * (rms / float(np.sqrt(np.mean(np.square(middle)))))
    recording = np.concatenate([part, pause, middle, pause, part]).astype(np.float32)
    transcript = asr.transcribe(recording, sample_rate=RATE)
    part_s = len(part) / RATE
    for segment in transcript.segments:
        inside = part_s < segment.start + 2 and segment.end - 2 < 2 * part_s + 1
        outside = segment.end - 2 < part_s or segment.start + 2 > 2 * part_s + 1
        if inside and not outside:
            assert segment.route == "robust", segment
        elif outside and not inside and (segment.end < part_s or segment.start > 2 * part_s):
            assert segment.route == "base", segment
    assert {segment.route for segment in transcript.segments} == {"base", "robust"}


def test_a_sentence_in_a_minute_of_noise_is_found(asr: MegaASR, speech: list[Samples]) -> None:
    rng = np.random.default_rng(2)
    for number, sentence in enumerate(speech[:4]):
        recording = (0.002 * rng.standard_normal(60 * RATE)).astype(np.float32)
        start = round(rng.uniform(5, 50) * RATE)
        recording[start : start + len(sentence)] += sentence
        transcript = asr.transcribe(recording, sample_rate=RATE)
        without_noise = asr.transcribe(sentence, sample_rate=RATE)
        assert len(transcript.text) > 0.7 * len(without_noise.text), number
        words = [word for segment in transcript.segments for word in segment.words]
        assert words[0].start == pytest.approx(start / RATE, abs=1.0)
        assert sum(not segment.text for segment in transcript.segments) >= 1


def test_words_have_confidence_and_times_in_order(asr: MegaASR, speech: list[Samples]) -> None:
    transcript = asr.transcribe(np.concatenate(speech), sample_rate=RATE)
    for segment in transcript.segments:
        assert " ".join(word.text for word in segment.words) == segment.text
        times = [time for word in segment.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert segment.start <= times[0] <= times[-1] <= segment.end + 0.05
        assert all(0 <= (word.confidence or 0.0) <= 1 for word in segment.words)
    assert json.loads(json.dumps(transcript.to_dict()))["word_times"] == "attention"


def test_the_same_audio_gives_the_same_attempts(speech: list[Samples]) -> None:
    # Every text fails a check, so that all attempts are made.
    thresholds = ReliabilityOptions().thresholds.changed(["low_logprob=-0.001"])
    first, second = (
        MegaASR.load("tiny", reliability=ReliabilityOptions(thresholds=thresholds)).transcribe(
            degraded(speech[0], "echo+noise", 0.7), sample_rate=RATE
        )
        for _ in range(2)
    )
    assert len(first.segments[0].attempts) >= 4
    assert first.to_dict() == second.to_dict()


def test_the_consensus_of_samples_is_kept(speech: list[Samples]) -> None:
    search = SearchOptions("auto", samples=4)
    asr = MegaASR.load("tiny", search=search)
    clean, hard = (
        asr.transcribe(samples, sample_rate=RATE).segments[0]
        for samples in (speech[2], degraded(speech[0], "echo+noise", 0.7))
    )
    assert clean.route == "base"
    assert not any(attempt.samples for attempt in clean.attempts)
    chosen = [attempt for attempt in hard.attempts if attempt.samples]
    assert [(attempt.samples, attempt.temperature) for attempt in chosen] == [(4, 0.5)]
    again = asr.transcribe(degraded(speech[0], "echo+noise", 0.7), sample_rate=RATE).segments[0]
    assert again == hard


Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: object, status: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert int(ended.value.code or 0) == status, captured.err
        return captured.out + captured.err

    return command


def test_compare_with_references_and_a_page(
    run: Run, speech: list[Samples], tmp_path: Path
) -> None:
    rows = []
    for number, clean in enumerate(speech[:3]):
        for name, samples in (("clean", clean), ("bad", degraded(clean))):
            path = tmp_path / f"{number}-{name}.wav"
            files.write(path, Waveform(samples, RATE))
            rows.append({"audio": path.name, "text": "There are fifty-six monkeys."})
    (tmp_path / "references.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    page = tmp_path / "compare.html"
    out = run(
        *("compare", tmp_path, "--references", tmp_path / "references.jsonl", "-o", page), status=1
    )
    assert "threshold" in out
    assert "words against the reference" in out
    assert "against base" in out
    assert "broken.wav" in out
    text = page.read_text()
    assert text.count("<audio") == 6
    assert "Error rate of routing" in text
    without = run("compare", tmp_path / "0-bad.wav")
    assert "robust" in without
    assert "confidence: of the text that transcribe --route both keeps" in without


def test_the_choice_between_branches_is_fitted_packed_and_used(run: Run, tmp_path: Path) -> None:
    clips = CLIPS[0].parent / "clips.jsonl"
    out = run("branch-choice", clips, "--model", "tiny", "--folds", 2, "-o", tmp_path / "choice")
    assert "2 folds" in out
    rates = json.loads((tmp_path / "choice" / "branch-choice-rates.json").read_text())
    overall = rates["cross_validated"][-1]
    assert overall["clips"] == 17
    assert overall["rates"]["oracle"] <= min(overall["rates"]["base"], overall["rates"]["robust"])
    folder = tmp_path / "packed"
    shutil.copytree(find_model("tiny"), folder)
    file = tmp_path / "choice" / "branch_choice.json"
    run("pack", "--base", folder, "-o", folder, "--branch-choice", file)
    choice = json.loads(file.read_text())
    for constant, branch in ((50.0, "robust"), (-50.0, "base")):
        choice["coefficients"]["constant"] = constant
        (folder / "branch_choice.json").write_text(json.dumps(choice))
        asr = MegaASR.load(folder, route="both", reliability=ReliabilityOptions(retry=False))
        (segment,) = asr.transcribe(CLIPS[0]).segments
        assert segment.route == branch


def test_inspect_measures_and_draws(run: Run, speech: list[Samples], tmp_path: Path) -> None:
    loud = np.clip(6 * speech[0], -0.6, 0.6)
    files.write(tmp_path / "loud.wav", Waveform(loud, RATE))
    out = run("inspect", tmp_path / "loud.wav", "--picture", tmp_path / "p.png")
    assert "overloaded" in out
    assert "degraded, by the router" in out
    assert (tmp_path / "p.png").stat().st_size > 10_000
    document = json.loads(run("inspect", CLIPS[0], "--json-lines"))
    assert document["clipped_share"] < 1e-3
    assert document["degraded"][0][2] < 0.5
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    assert "error" in run("inspect", tmp_path / "broken.wav", CLIPS[0], status=1)
