"""Fitting the router's threshold on labelled clips."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megaasr.audio import files
from megaasr.audio.waveform import Waveform
from megaasr.cli.main import main
from megaasr.errors import UsageError
from megaasr.model.hub import find_model_parts
from megaasr.records import Utterance, write_manifest
from megaasr.report.calibration_page import calibration_page
from megaasr.route.profile import RoutingProfile, router_sha256
from megaasr.score.branches import BranchComparison, BranchSegment
from megaasr.score.calibration import RoutedClip, calibrate
from megaasr.score.systems import warm_up_clips
from megaasr.transcribe.recognizer import MegaASR


def clips(split: float, number: int = 200, seed: int = 0) -> list[RoutedClip]:
    """Clips whose robust branch is better above a probability, and the base below."""
    rng = np.random.default_rng(seed)
    routed = []
    for index in range(number):
        probability = float(rng.random())
        fewer, more = int(rng.integers(0, 3)), int(rng.integers(4, 8))
        robust, base = (fewer, more) if probability > split else (more, fewer)
        routed.append(RoutedClip(f"c{index}", (probability,), (robust, base), 10))
    return routed


def test_errors_change_where_a_segment_changes_its_branch() -> None:
    clip = RoutedClip("a", (0.2, 0.7), (5, 3, 4), 10)
    thresholds = np.array([0.0, 0.2, 0.21, 0.7, 0.71, 1.0])
    assert clip.routed_errors(thresholds).tolist() == [5, 5, 3, 3, 4, 4]
    assert (clip.robust_errors, clip.base_errors) == (5, 4)


def test_a_recording_of_two_segments() -> None:
    segments = (
        BranchSegment(0, 1, "one two", "one", None, None, "en", 0.9),
        BranchSegment(1, 2, "three", "three four", None, None, "en", 0.1),
    )
    routed = RoutedClip.from_comparison(
        "a", BranchComparison("a.wav", 2.0, segments, "one two three four", "en")
    )
    assert routed.probabilities == (0.1, 0.9)
    # both robust: "one three four"; only the degraded one; none.
    assert routed.errors == (1, 2, 1)
    assert routed.words == 4


def test_the_threshold_is_found_and_routing_is_advised() -> None:
    calibration = calibrate(clips(0.8), default=0.5, replications=500)
    assert calibration.threshold == pytest.approx(0.8, abs=0.03)
    assert calibration.threshold_interval is not None
    low, high = calibration.threshold_interval
    assert 0.6 < low <= calibration.threshold <= high < 0.95
    assert calibration.change == "routed"
    assert calibration.route == "auto"
    assert calibration.recommended_threshold == calibration.threshold
    assert calibration.rates["oracle"] <= calibration.rates["fitted"] <= calibration.rates["routed"]
    assert calibration.rates["routed"] < min(
        calibration.rates[name] for name in ("base", "robust", "default")
    )
    assert calibration.comparisons["default"].difference < 0
    assert calibration.advice.startswith("Change the setting in use (routing, threshold 0.5)")
    page = calibration_page(calibration, "tiny", "mine <b>", 0.5)
    assert "mine &lt;b&gt;" in page
    assert "<svg" in page


def test_where_one_branch_is_always_better_it_is_said_so() -> None:
    rng = np.random.default_rng(3)
    always = [
        RoutedClip(f"c{index}", (float(rng.random()),), (int(rng.integers(2, 6)), 1), 10)
        for index in range(100)
    ]
    calibration = calibrate(always, default=0.5, replications=500)
    assert calibration.change == calibration.route == "base"
    assert "with the base branch alone" in calibration.advice
    assert calibration.rates["routed"] <= calibration.rates["default"]


def test_chance_is_not_taken_for_a_gain() -> None:
    """Probabilities that tell nothing: fitted it looks good, cross-validated it does not."""
    rng = np.random.default_rng(8)
    noise = [
        RoutedClip(f"c{index}", (float(rng.random()),), tuple(rng.integers(0, 8, 2).tolist()), 10)
        for index in range(60)
    ]
    calibration = calibrate(noise, default=0.5, replications=500)
    best = min(calibration.rates["base"], calibration.rates["robust"])
    assert calibration.rates["fitted"] <= best
    assert calibration.rates["routed"] > calibration.rates["fitted"]
    assert calibration.change is None
    assert (calibration.route, calibration.recommended_threshold) == ("auto", 0.5)
    assert "Keep the setting in use (routing, threshold 0.5): no change" in calibration.advice


def test_too_few_clips_change_nothing() -> None:
    """The robust branch is better on every clip, and there are seven sentences of them."""
    few = [RoutedClip(f"c{n}", (0.1,), (0, 9), 10, f"sentence {n % 7}") for n in range(70)]
    calibration = calibrate(few, default=0.5, replications=500)
    assert (calibration.change, calibration.route) == (None, "auto")
    assert calibration.recommended_threshold == 0.5
    assert calibration.threshold_interval is None
    assert set(calibration.intervals.values()) == {None}
    assert calibration.advice.startswith("Too few clips: 7 independent ones, and a change needs 20")
    page = calibration_page(calibration, "tiny", "mine", 0.5)
    assert page.count("too few clips") >= 7
    # Enough sentences of the same kind are evidence.
    many = [RoutedClip(f"c{n}", (0.1,), (0, 9), 10, f"sentence {n}") for n in range(30)]
    assert calibrate(many, default=0.5, replications=500).change == "robust"


def test_clips_of_a_block_stay_together_and_the_seed_decides() -> None:
    grouped = [
        RoutedClip(clip.id, clip.probabilities, clip.errors, clip.words, f"speaker{index % 4}")
        for index, clip in enumerate(clips(0.5, 80))
    ]
    clip = calibrate(grouped, default=0.5, replications=200, folds=10)
    assert clip == calibrate(grouped, default=0.5, replications=200, folds=10)
    with pytest.raises(ValueError, match="at least two"):
        calibrate(grouped[:1], default=0.5)


# Profiles


def profile(**changes: Any) -> RoutingProfile:
    values: dict[str, Any] = {
        "route": "auto",
        "threshold": 0.25,
        "model": "tiny",
        "router_sha256": router_sha256("tiny"),
    }
    return RoutingProfile(**{**values, **changes})


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    profile(measured={"advice": "é"}).write(tmp_path / "p.json")
    read_back = RoutingProfile.read(tmp_path / "p.json")
    assert read_back == profile(measured={"advice": "é"})
    read_back.require("tiny")
    assert read_back.over("auto", None) == ("auto", 0.25)
    assert read_back.over("auto", 0.5) == ("auto", 0.5)
    assert read_back.over("robust", None) == ("robust", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no profile"),
        ("[1]", "no profile"),
        ('{"schema": 9}', "another version"),
        ('{"schema": 1, "route": "auto"}', "no profile"),
    ],
)
def test_other_files_are_no_profiles(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(UsageError, match=message):
        RoutingProfile.read(tmp_path / "p.json")
    with pytest.raises(UsageError, match=r"nothing\.json"):
        RoutingProfile.read(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    "changes", [{"threshold": 2.0}, {"route": "sideways"}, {"threshold": "high"}]
)
def test_values_out_of_range_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    profile(**changes).write(tmp_path / "p.json")
    with pytest.raises(UsageError, match=r"p\.json"):
        RoutingProfile.read(tmp_path / "p.json")


def test_another_router_is_refused(tmp_path: Path, random_checkpoint: Path) -> None:
    path = tmp_path / "p.json"
    profile().write(path)
    with pytest.raises(UsageError, match="another"):
        MegaASR.load(random_checkpoint, profile=path)
    profile(route="base").write(path)
    with pytest.raises(UsageError, match="another"):  # the better branch of another model, too
        MegaASR.load(random_checkpoint, profile=path)
    profile(route="base", router_sha256=None).write(path)
    asr = MegaASR.load(random_checkpoint, profile=path)
    assert asr.transcribe(np.zeros(16_000, np.float32), sample_rate=16_000).text == ""


# The command


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    utterances = []
    for number in range(4):
        samples = (0.05 * rng.standard_normal(16_000)).astype(np.float32)
        files.write(tmp_path / f"{number}.wav", Waveform(samples, 16_000))
        utterances.append(
            Utterance(
                f"u{number}",
                f"{number}.wav",
                f"red boats {number}",
                "en",
                {"speaker": f"s{number % 2}"},
            )
        )
    utterances.append(Utterance("gone", "gone.wav", "red", "en", {"speaker": "s0"}))
    write_manifest(tmp_path / "mine.jsonl", utterances)
    return tmp_path / "mine.jsonl"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["calibrate", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_the_command_end_to_end(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("--data", labelled, "-o", out, "--blocks", "speaker") == 1  # a clip is left out
    output = capsys.readouterr()
    assert "Too few clips: 2 independent ones, and a change needs 20" in output.out
    assert "gone.wav is left out" in output.err
    assert "1 clip could not be transcribed" in output.err
    assert "5 of 5 clips, 1 failed\n" in output.err
    read_back = RoutingProfile.read(out / "profile.json")
    assert (read_back.route, read_back.threshold) == ("auto", 0.5)
    assert read_back.measured["clips"] == 4
    assert read_back.measured["comparisons"]["base"]["p_value"] is None
    assert "Is routing worth it here?" in (out / "calibration.html").read_text()
    # Killed in the middle of a line: the rest is heard again, the same comes out.
    before = (out / "profile.json").read_bytes()
    rows = (out / "clips.jsonl").read_text().splitlines(keepends=True)
    (out / "clips.jsonl").write_text("".join(rows[:3]) + rows[3][:10])
    assert run("--data", labelled, "-o", out, "--blocks", "speaker") == 1
    assert (out / "profile.json").read_bytes() == before
    assert sorted((out / "clips.jsonl").read_text().splitlines()) == sorted(
        line.rstrip("\n") for line in rows
    )
    # Blocks may change, without hearing anything again.
    capsys.readouterr()
    assert run("--data", labelled, "-o", out, "--blocks", "town") == 2
    assert "no field town" in capsys.readouterr().err
    assert run("--data", labelled, "-o", out) == 1
    # A clip that could not be heard is tried again.
    shutil.copy(tmp_path / "0.wav", tmp_path / "gone.wav")
    assert run("--data", labelled, "-o", out) == 0
    assert "left out" not in capsys.readouterr().err.partition("5 of 5 clips\n")[2]
    assert RoutingProfile.read(out / "profile.json").measured["clips"] == 5
    capsys.readouterr()
    transcribe = ["transcribe", str(tmp_path / "0.wav"), "--model", "tiny"]
    with pytest.raises(SystemExit) as ended:
        main([*transcribe, "--profile", str(out / "profile.json")])
    assert not ended.value.code


def test_a_benchmark_warms_both_branches_up() -> None:
    transcripts = MegaASR.load("tiny").transcribe(warm_up_clips())
    assert [transcript.segments[0].route for transcript in transcripts] == ["base", "robust"]


def test_a_benchmark_begun_by_an_earlier_version_goes_on(labelled: Path, tmp_path: Path) -> None:
    arguments = ["bench", str(labelled), "--system", "tiny", "-o", str(tmp_path / "out")]
    marker = tmp_path / "out" / "run.json"
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 1  # a clip is missing
        recorded = json.loads(marker.read_text())
        assert recorded["systems"]["tiny"].pop("base_fingerprint")
        marker.write_text(json.dumps(recorded))


@pytest.mark.parametrize("command", ["calibrate", "bench"])
def test_a_model_that_was_changed_in_its_folder_is_another_one(
    command: str, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = find_model_parts("tiny")
    assert parts.adapter is not None
    assert parts.router is not None
    for source, name in ((parts.base, "base"), (parts.adapter, "mega-asr-merged")):
        shutil.copytree(source, tmp_path / "m" / name, ignore=shutil.ignore_patterns("*/"))
    (tmp_path / "m/audio_quality_router").mkdir()
    shutil.copy(parts.router, tmp_path / "m/audio_quality_router")
    options = ["--data", labelled, "--model", tmp_path / "m"]
    if command == "bench":
        options = [labelled, "--system", f"routed={tmp_path / 'm'}"]
    arguments = [command, *map(str, options), "-o", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 1, capsys.readouterr().err  # a clip is missing
    weights = tmp_path / "m/mega-asr-merged/adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "choose another folder" in " ".join(capsys.readouterr().err.split())


def test_what_the_command_refuses(
    labelled: Path, tmp_path: Path, random_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("--data", labelled, "-o", out, "--model", random_checkpoint) == 2
    assert "has no router" in capsys.readouterr().err
    assert run("--data", labelled, "-o", out, "--blocks", "town") == 2
    assert "no field town" in capsys.readouterr().err
    assert not out.exists()
    nowhere = tmp_path / "nowhere.csv"
    nowhere.write_text("audio,text\na.wav,red\nb.wav,boats\n")
    assert run("--data", nowhere, "-o", out) == 2
    assert "none of the first clips" in capsys.readouterr().err
    mute = tmp_path / "mute.csv"
    mute.write_text("audio,text\n0.wav,\n1.wav,\n")
    assert run("--data", mute, "-o", tmp_path / "mute") == 2
    assert "no clip has a word" in capsys.readouterr().err
    out.mkdir()
    (out / "clips.jsonl").write_text(json.dumps({"settings": {"model": "other"}}) + "\n")
    assert run("--data", labelled, "-o", out) == 2
    assert "another folder" in capsys.readouterr().err
    (out / "clips.jsonl").write_text("somebody's own notes")
    assert run("--data", labelled, "-o", out) == 2
    assert (out / "clips.jsonl").read_text() == "somebody's own notes"
