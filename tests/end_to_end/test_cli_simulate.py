"""The commands of `mega-asr simulate`: scenarios, apply, replay, and the gallery page."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import soundfile

from megaasr.cli.main import main
from megaasr.simulate.conditions import CONDITIONS

RATE = 16_000


@dataclass
class Result:
    status: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    clip = resources.files("megaasr.cli") / "demo_clips" / "1-clean.flac"
    shutil.copyfile(str(clip), "clean.flac")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def simulate(*arguments: str) -> Result:
        with pytest.raises(SystemExit) as ended:
            main(["simulate", *arguments])
        captured = capsys.readouterr()
        return Result(int(ended.value.code or 0), captured.out, captured.err)

    return simulate


def in_a_process(*arguments: str) -> None:
    command = [sys.executable, "-m", "megaasr", "simulate", *arguments]
    subprocess.run(command, check=True, capture_output=True)


def digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_scenarios_prints_a_table_with_a_line_per_scenario(run: Run) -> None:
    shown = run("scenarios")
    assert shown.status == 0
    rows = [line.split("│")[1:3] for line in shown.out.splitlines() if line.startswith("│")]
    table = {name.strip(): chain.strip() for name, chain in rows}
    assert len(rows) == len(table) == 54
    assert table["far_field+recording+dropout"] == (
        "reverberation, noise, filter, level, lower sample rate, noise, lost frames"
    )
    assert table["dropout"].startswith("Packets are lost in transmission.")
    for title in ("single (7)", "anchor+modifiers (36)", "modifiers (11)"):
        assert title in shown.out


def test_scenarios_prints_json(run: Run) -> None:
    scenarios = json.loads(run("scenarios", "--json").out)
    by_name = {scenario["name"]: scenario for scenario in scenarios}
    assert len(by_name) == 54
    assert by_name["dropout+noise"]["group"] == "modifiers"
    first, noise, low_pass, loudness = by_name["far_field"]["chain"]
    assert (first["condition"], first["primitive"]) == ("far_field", "reverb")
    assert noise["parameters"]["category"] == "white"
    cutoff_hz = {"easy": 4500, "hard": 3500, "core": True, "mild": 7000}
    assert low_pass["parameters"]["cutoff_hz"] == cutoff_hz
    assert loudness["parameters"]["target_lufs"]["hard"] == -38
    trip = by_name["recording"]["chain"][0]
    assert trip["from_position_above"] == 0.4
    repeats = by_name["recording"]["chain"][2]["parameters"]["repeat"]
    assert repeats == {"options": [4, 5, 6], "core": False, "mild": [1, 2, 3]}
    assert by_name["echo"]["positions"] == {"0.2": 0.2, "0.5": 0.5, "0.8": 0.8}
    assert all(p < 0.5 for p in by_name["echo+noise"]["positions"].values())


def test_apply_writes_the_audio_and_its_provenance(run: Run) -> None:
    shown = run(
        "apply", "clean.flac", "bad.wav", "--scenario", "echo+noise", "--severity", "0.6",
        "--seed", "7",
    )  # fmt: skip
    assert (shown.status, shown.err) == (0, "")
    assert shown.out.startswith("bad.wav: echo+noise at severity 0.60: reverberation: room size")
    assert shown.out.count("\n") == 1
    about = soundfile.info("bad.wav")
    assert (about.samplerate, about.channels, about.subtype) == (RATE, 1, "PCM_16")
    log = json.loads(Path("bad.wav.json").read_text(encoding="utf-8"))
    assert log["input"] == log["draw"]["utterance"] == "clean.flac"
    assert (log["draw"]["seed"], log["draw"]["severity"]) == (7, 0.6)
    clean, _ = soundfile.read("clean.flac", dtype="float32")
    assert log["input_sha256"] == hashlib.sha256(clean.astype("<f4").tobytes()).hexdigest()
    steps, _ = soundfile.read("bad.wav", dtype="int16")
    assert log["output_sha256"] == hashlib.sha256(steps.astype("<i2").tobytes()).hexdigest()
    assert len(log["notes"]) == len(log["draw"]["steps"]) == 5
    assert {"megaasr", "loops", "numpy", "scipy", "soxr", "soundfile"} == set(log["versions"])


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_replay_in_another_process_gives_the_same_bytes(run: Run, suffix: str) -> None:
    applied, again = f"bad.{suffix}", f"again.{suffix}"
    options = ("--scenario", "echo+recording+dropout+noise", "--mapping", "gaussian-mid")
    assert run("apply", "clean.flac", applied, *options, "--seed", "7").status == 0
    in_a_process("replay", f"{applied}.json", "--input", "clean.flac", "--output", again)
    assert digest(applied) == digest(again)


def test_the_seed_determines_the_bytes(run: Run) -> None:
    for name, seed in (("a.flac", "1"), ("b.flac", "1"), ("c.flac", "2")):
        run(
            "apply",
            "clean.flac",
            name,
            "--scenario",
            "dropout",
            "--severity",
            "0.5",
            "--seed",
            seed,
        )
    assert digest("a.flac") == digest("b.flac") != digest("c.flac")
    assert digest("a.flac.json") == digest("b.flac.json")


def test_a_severity_that_is_not_set_is_drawn_with_the_mapping(run: Run) -> None:
    severities = {}
    for mapping in ("linear", "sqrt-forward"):
        options = ("--scenario", "dropout", "--seed", "5", "--mapping", mapping)
        run("apply", "clean.flac", "bad.flac", *options)
        severities[mapping] = json.loads(Path("bad.flac.json").read_text())["draw"]["severity"]
    assert 0 < severities["linear"] < 1
    assert severities["sqrt-forward"] ** 2 == pytest.approx(severities["linear"])


def test_replay_writes_to_the_recorded_path_by_default(run: Run) -> None:
    run("apply", "clean.flac", "bad.flac", "--scenario", "noise", "--severity", "0.5")
    before = digest("bad.flac")
    Path("bad.flac").unlink()
    shown = run("replay", "bad.flac.json", "--input", "clean.flac")
    assert (shown.status, digest("bad.flac")) == (0, before)


def test_replay_accepts_a_moved_but_not_a_changed_clean_file(run: Run) -> None:
    run("apply", "clean.flac", "bad.flac", "--scenario", "dropout", "--severity", "0.5")
    samples, _ = soundfile.read("clean.flac", dtype="int16")
    soundfile.write("same.wav", samples, RATE)
    soundfile.write("other.wav", np.roll(samples, 1), RATE)
    assert run("replay", "bad.flac.json", "--input", "same.wav", "--output", "r.flac").status == 0
    assert digest("r.flac") == digest("bad.flac")
    refused = run("replay", "bad.flac.json", "--input", "other.wav", "--output", "o.flac")
    assert refused.status == 2
    assert "other.wav: its samples are not those that were degraded" in refused.err
    assert not Path("o.flac").exists()


def test_replay_requires_the_same_noise(run: Run, rng: np.random.Generator) -> None:
    Path("rain").mkdir()
    soundfile.write("rain/drops.wav", 0.1 * rng.standard_normal(RATE), RATE)
    common = ("--scenario", "noise", "--severity", "0.5")
    shown = run("apply", "clean.flac", "bad.flac", *common, "--noise", "rain")
    assert shown.status == 0
    assert "noise (rain/drops.wav, from" in shown.out
    replay = ("replay", "bad.flac.json", "--input", "clean.flac", "--output", "r.flac")
    refused = run(*replay)
    assert refused.status == 2
    assert "rain/drops.wav" in refused.err
    assert "--noise" in refused.err
    assert run(*replay, "--noise", "rain").status == 0
    assert digest("r.flac") == digest("bad.flac")


def test_a_changed_noise_is_refused_without_force(run: Run, rng: np.random.Generator) -> None:
    soundfile.write("hum.wav", 0.1 * rng.standard_normal(RATE), RATE)
    common = ("--scenario", "noise", "--severity", "0.5", "--noise", "hum.wav")
    run("apply", "clean.flac", "bad.flac", *common)
    soundfile.write("hum.wav", 0.1 * rng.standard_normal(2 * RATE), RATE)
    replay = ("replay", "bad.flac.json", "--input", "clean.flac", "--output", "r.flac")
    refused = run(*replay, "--noise", "hum.wav")
    assert refused.status == 1
    assert "a noise or room response has changed" in refused.err
    assert not Path("r.flac").exists()
    assert run(*replay, "--noise", "hum.wav", "--force").status == 0
    assert digest("r.flac") != digest("bad.flac")


def test_a_built_in_noise_can_be_selected(run: Run) -> None:
    shown = run(
        "apply", "clean.flac", "bad.flac", "--scenario", "noise", "--noise", "builtin:pink",
        "--severity", "0",
    )  # fmt: skip
    assert "noise (built-in pink, from" in shown.out
    assert run("replay", "bad.flac.json", "--input", "clean.flac").status == 0


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("clean.flac", "o.wav", "--scenario", "ecko"), 2, "did you mean echo?"),
        (("clean.flac", "o.wav", "--scenario", "echo+far_field"), 2, "exclude each other"),
        (("clean.flac", "o.wav", "--scenario", "echo", "--severity", "1.2"), 2, "from 0 (easy)"),
        (("clean.flac", "o.mp3", "--scenario", "echo"), 2, ".wav and .flac"),
        (("clean.flac", "clean.flac", "--scenario", "echo"), 2, "the clean recording itself"),
        (("clean.flac", "o.wav", "--scenario", "echo", "--speed", "9"), 2, "speed"),
        (
            ("clean.flac", "o.wav", "--scenario", "echo", "--severity", "0", "--mapping", "linear"),
            2,
            "--mapping is for severities that are drawn",
        ),
        (("clean.flac", "o.wav", "--scenario", "noise", "--noise", "nowhere"), 2, "nowhere"),
        (("clean.flac", "o.wav", "--scenario", "noise", "--noise", "builtin:x"), 2, "builtin:"),
        (("clean.flac", "o.wav", "--scenario", "echo", "--room-responses", "no"), 2, "no"),
        (("missing.wav", "o.wav", "--scenario", "echo"), 1, "missing.wav"),
        (("text.wav", "o.wav", "--scenario", "echo"), 1, "text.wav"),
        (("clean.flac", "no/folder/o.wav", "--scenario", "echo"), 1, "create it first"),
        (("clean.flac", "text.wav/o.wav", "--scenario", "echo"), 2, "text.wav is a file, not"),
        (("clean.flac", "o.wav", "--scenario", "noise+echo+noise"), 2, "noise occurs twice; name"),
    ],
)
def test_errors_are_explained(
    run: Run, arguments: tuple[str, ...], status: int, message: str
) -> None:
    Path("text.wav").write_text("no audio", encoding="utf-8")
    shown = run("apply", *arguments)
    assert (shown.status, shown.out) == (status, "")
    assert message in shown.err
    assert {path.name for path in Path().iterdir()} <= {"clean.flac", "text.wav", "cache"}


@pytest.mark.parametrize(
    ("log", "status", "message"),
    [
        ("none.wav.json", 2, "there is no such log"),
        ("folder.wav.json", 2, "the log cannot be read: Is a directory"),
        ("clean.flac", 1, "give the .json file that it wrote"),
        ("log.json", 2, "log.json: its name does not end in .wav.json or .flac.json; name the"),
    ],
)
def test_logs_that_cannot_be_replayed_are_explained(
    run: Run, log: str, status: int, message: str
) -> None:
    Path("folder.wav.json").mkdir()
    run("apply", "clean.flac", "bad.wav", "--scenario", "dropout", "--severity", "0.5")
    Path("bad.wav.json").rename("log.json")
    shown = run("replay", log, "--input", "clean.flac")
    assert (shown.status, shown.out) == (status, "")
    assert message in shown.err


def test_what_is_unusual_about_the_clean_recording_is_a_note_of_one_line() -> None:
    samples, _ = soundfile.read("clean.flac", dtype="float32")
    samples[-10:] = np.nan
    soundfile.write("broken.wav", samples, RATE, subtype="FLOAT")
    options = ["broken.wav", "bad.wav", "--scenario", "dropout", "--severity", "0.5"]
    command = [sys.executable, "-m", "megaasr", "simulate", "apply", *options]
    shown = subprocess.run(command, check=True, capture_output=True, text=True)
    assert shown.stderr.startswith("note: broken.wav: 10 samples are not a level of sound")
    assert shown.stderr.count("\n") == 1


def test_a_provenance_file_is_never_beside_the_audio_of_another_run(run: Run) -> None:
    run("apply", "clean.flac", "bad.flac", "--scenario", "echo", "--severity", "0.1")
    Path("bad.flac").unlink()
    Path("bad.flac").mkdir()  # so that the audio cannot be written
    failed = run("apply", "clean.flac", "bad.flac", "--scenario", "noise", "--severity", "0.1")
    assert failed.status == 1
    assert not Path("bad.flac.json").exists()


def test_the_scenario_clean_changes_nothing(run: Run) -> None:
    shown = run("apply", "clean.flac", "same.wav", "--scenario", "clean", "--severity", "0")
    assert "nothing done; 0 samples clipped" in shown.out
    before, _ = soundfile.read("clean.flac", dtype="int16")
    after, _ = soundfile.read("same.wav", dtype="int16")
    np.testing.assert_array_equal(before, after)


def test_the_speed_is_recorded_and_replayed(run: Run) -> None:
    run(
        "apply",
        "clean.flac",
        "fast.flac",
        "--scenario",
        "noise",
        "--severity",
        "0",
        "--speed",
        "1.25",
    )
    seconds = soundfile.info("clean.flac").duration
    assert soundfile.info("fast.flac").duration == pytest.approx(seconds / 1.25, rel=0.02)
    assert json.loads(Path("fast.flac.json").read_text())["draw"]["speed"] == 1.25
    before = digest("fast.flac")
    assert run("replay", "fast.flac.json", "--input", "clean.flac").status == 0
    assert digest("fast.flac") == before


def test_measured_rooms_replace_the_synthetic_reverberation(
    run: Run, rng: np.random.Generator
) -> None:
    decay = np.exp(-np.arange(RATE // 4) / 800)
    Path("rooms").mkdir()
    soundfile.write("rooms/hall.wav", 0.5 * decay * rng.standard_normal(decay.size), RATE)
    rooms = ("--room-responses", "rooms")
    shown = run(
        "apply", "clean.flac", "bad.flac", "--scenario", "far_field", "--severity", "0.5", *rooms
    )
    assert "measured room response rooms/hall.wav" in shown.out
    replay = ("replay", "bad.flac.json", "--input", "clean.flac", "--output", "r.flac")
    refused = run(*replay)
    assert refused.status == 2
    assert "--room-responses" in refused.err
    assert run(*replay, *rooms).status == 0
    assert digest("r.flac") == digest("bad.flac")


def test_the_gallery_shows_every_condition_in_one_file(run: Run) -> None:
    shown = run("gallery", "clean.flac", "--output", "page", "--severity", "0.5")
    assert shown.status == 0
    assert [path.name for path in Path("page").iterdir()] == ["index.html"]
    page = Path("page/index.html").read_text(encoding="utf-8")
    rows = re.findall(r'<h2 id="(.*?)"', page)
    assert rows[:8] == ["clean", *(condition.name for condition in CONDITIONS)]
    assert any("-" in row for row in rows[8:])  # compounds
    assert not re.search(r"https?:|//[a-z]", re.sub(r'"data:.*?"', "", page))
    sources = re.findall(r'(?:src|href)="(.{5})', page)
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert page.count("<audio ") == page.count('alt="Spectrogram of ') == len(rows)


def test_a_gallery_of_all_54(run: Run) -> None:
    shown = run(
        "gallery", "clean.flac", "-o", "all", "--scenario", "all", "--severity", "0.5",
        "--seconds", "0.5",
    )  # fmt: skip
    assert shown.status == 0
    assert "54 scenarios" in shown.out


def test_all_beside_another_scenario_is_all(run: Run) -> None:
    options = ("--severity", "0.5", "--seconds", "0.5", "--scenario", "noise", "--scenario", "all")
    assert "54 scenarios" in run("gallery", "clean.flac", "-o", "g", *options).out


def test_the_gallery_says_what_a_recogniser_hears(run: Run) -> None:
    options = ("--scenario", "dropout", "--severity", "0.1", "--system", "tiny")
    shown = run("gallery", "clean.flac", "-o", "g", *options)
    assert shown.err.endswith("2 of 2 clips, tiny\n")
    page = Path("g/index.html").read_text(encoding="utf-8")
    texts = re.findall(r'class="recognised">.*?</span> (.*?)</p>', page)
    assert texts[0] == "“There are fifty-six monkeys near the nightclub.”"
    assert len(texts) == 2
    refused = run("gallery", "clean.flac", "-o", "h", "--language", "en")
    assert (refused.status, Path("h").exists()) == (2, False)
    assert "name a system too" in refused.err


@pytest.mark.parametrize(
    "command",
    [
        ("gallery", "clean.flac", "--scenario", "dropout"),
        ("corpus", "clean.jsonl", "--workers", "1", "--mix", "dropout"),
        ("nonspeech", "--hours", "0.01"),
    ],
)
def test_a_file_where_a_folder_is_needed_is_explained(run: Run, command: tuple[str, ...]) -> None:
    Path("file").write_text("x", encoding="utf-8")
    utterance = {"id": "a", "audio": "clean.flac", "text": "words"}
    Path("clean.jsonl").write_text(json.dumps(utterance), encoding="utf-8")
    shown = run(*command, "-o", "file")
    assert (shown.status, shown.out) == (1, "")
    assert shown.err.startswith("mega-asr: error: file: ")
    assert shown.err.endswith("; a folder is needed there; choose another name\n")
    assert Path("file").read_text(encoding="utf-8") == "x"


def test_the_gallery_is_the_same_in_another_process(run: Run) -> None:
    options = ("gallery", "clean.flac", "--scenario", "dropout+noise", "--seed", "3")
    run(*options, "--output", "a")
    in_a_process(*options, "--output", "b")
    assert digest("a/index.html") == digest("b/index.html")


def test_a_file_name_with_markup_is_escaped(run: Run) -> None:
    name = '"><script>alert(1)</script>$rows&amp;.flac'.replace("/", "")
    shutil.copyfile("clean.flac", name)
    options = ("--scenario", "echo", "--severity", "0.5", "--output", "page")
    assert run("gallery", name, *options).status == 0
    page = Path("page/index.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&quot;&gt;&lt;script&gt;alert(1)&lt;script&gt;$rows&amp;amp;.flac" in page
    assert page.count("<script>") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="names there must be Unicode")
def test_a_file_name_that_is_not_unicode_can_be_used(run: Run) -> None:
    name = os.fsdecode(b"caf\xe9.flac")
    shutil.copyfile("clean.flac", name)
    assert run("apply", name, "bad.flac", "--scenario", "noise", "--severity", "0").status == 0
    assert json.loads(Path("bad.flac.json").read_text())["input"] == "caf?.flac"
    assert run("replay", "bad.flac.json", "--input", name).status == 0


def test_a_gallery_of_an_unknown_scenario_writes_nothing(run: Run) -> None:
    shown = run("gallery", "clean.flac", "--scenario", "dropuot", "--output", "page")
    assert shown.status == 2
    assert "did you mean dropout?" in shown.err
    assert not Path("page").exists()


def test_the_commands_import_nothing_heavy() -> None:
    program = (
        "import sys, megaasr.cli.simulate;"
        "heavy = {'torch', 'pyarrow', 'matplotlib', 'scipy', 'numpy'} & set(sys.modules);"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_simulating_needs_no_torch() -> None:
    program = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in {"torch", "transformers", "pyarrow", "matplotlib"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
from megaasr.cli.main import main
main(["simulate", "gallery", "clean.flac", "-o", "page", "--severity", "0.5"])
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert Path("page/index.html").exists()


def test_the_help_lists_every_command(run: Run) -> None:
    shown = run("--help")
    assert shown.status == 0
    for command in ("scenarios", "apply", "replay", "gallery", "corpus", "webdataset", "calibrate"):
        assert command in shown.out


def test_extra_conditions_are_listed_in_plain_words(run: Run) -> None:
    shown = run("scenarios", "--extra")
    assert shown.status == 0
    rows = [line.split("│")[1:3] for line in shown.out.splitlines() if line.startswith("│")]
    table = {name.strip(): chain.strip() for name, chain in rows}
    assert list(table)[:3] == ["competing_talker", "music", "impulses"]
    assert len(table) == 12
    assert table["codec"] == (
        "The speech was coded for a telephone call, for the web or for radio. (codec, level)"
    )
    listed = json.loads(run("scenarios", "--extra", "--json").out)
    assert [scenario["name"] for scenario in listed] == list(table)


@pytest.mark.parametrize("scenario", ["codec", "room+packet_loss", "competing_talker+noise"])
def test_extra_conditions_are_applied_and_replayed(run: Run, scenario: str) -> None:
    options = ("--scenario", scenario, "--severity", "0.4", "--seed", "3")
    codecs = ("--codec", "g711-mu-law", "--codec", "g711-a-law")
    applied = run("apply", "clean.flac", "bad.flac", *options, *codecs)
    assert applied.status == 0, applied.err
    replayed = run("replay", "bad.flac.json", "--input", "clean.flac", "--output", "same.flac")
    assert replayed.status == 0, replayed.err
    assert digest("bad.flac") == digest("same.flac")


def test_competing_speech_of_a_folder(run: Run) -> None:
    Path("people").mkdir()
    shutil.copyfile("clean.flac", "people/other.flac")
    options = ("--scenario", "competing_talker", "--talkers", "people")
    applied = run("apply", "clean.flac", "bad.flac", *options)
    assert applied.status == 0, applied.err
    assert "people/other.flac" in applied.out
    again = ("replay", "bad.flac.json", "--input", "clean.flac", "--output", "same.flac")
    missing = run(*again)
    assert missing.status == 2
    assert "name the folder that holds it" in missing.err
    assert run(*again, "--talkers", "people").status == 0
    assert digest("bad.flac") == digest("same.flac")


def test_a_codec_without_ffmpeg_is_a_clear_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    applied = run("apply", "clean.flac", "bad.flac", "--scenario", "codec", "--codec", "gsm-fr")
    assert applied.status != 0
    assert "needs the program ffmpeg" in applied.err
    assert not Path("bad.flac").exists()
