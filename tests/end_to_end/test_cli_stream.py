"""The command `mega-asr stream`: sources, files, kill, Ctrl-C, the terminal."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import megaasr.cli
from command_line import TINY, mega_asr
from full_disk import largest_file
from hanging import HANGING_S
from megaasr import MegaASR
from megaasr.audio import read
from megaasr.audio.encoding import pcm_16
from megaasr.audio.files import resample
from megaasr.stream.event_files import read_events

CLIPS = Path(megaasr.cli.__file__).parent / "demo_clips"
CLIP = CLIPS / "5-clean.flac"
BEGINNING = "I think that my grandmother translates"
# As on a terminal: a shell has programs that it starts in the background ignore Ctrl-C.
_PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from megaasr.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean utterance, silence, another one, and half a minute of silence."""
    pause = np.random.default_rng(0).normal(0, 1e-4, 16_000).astype(np.float32)
    first, second = (read(CLIPS / f"{name}-clean.flac").samples for name in (4, 1))
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(path, np.concatenate([first, pause, second, *[pause] * 30]), 16_000)
    return path


def started(
    *arguments: object, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, "stream", *TINY, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


def wait_for(is_there: Callable[[], bool], child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + HANGING_S
    while not is_there():
        assert child.poll() is None, child.stderr and child.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_recording_is_transcribed_into_files(talk: Path, tmp_path: Path) -> None:
    done = mega_asr(
        "stream", talk, *TINY, "-o", "live.srt", "-o", "live.jsonl", "--record", "live.wav",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert BEGINNING in lines[0]
    assert "2 utterances with words" in done.stderr
    subtitles = (tmp_path / "live.srt").read_text(encoding="utf-8")
    assert subtitles.startswith("1\n00:00:00,")
    events = list(read_events(tmp_path / "live.jsonl"))
    assert [e["type"] for e in events if e["type"] != "partial"] == [
        "session",
        *["speech_started", "speech_stopped", "final"] * 2,
    ]
    assert any(e["type"] == "partial" and e["stable"] for e in events)
    assert len(read(tmp_path / "live.wav").samples) == len(read(talk).samples)
    again = mega_asr("stream", talk, *TINY, "-o", "live.srt", cwd=tmp_path)
    assert again.returncode == 2
    assert "live.srt exists" in again.stderr


def test_raw_samples_from_standard_input_as_json(talk: Path, tmp_path: Path) -> None:
    samples = resample(read(talk).samples[: 4 * 16_000], 16_000, 48_000)
    stereo = np.repeat(pcm_16(samples), 2).astype("<i2").tobytes()
    arguments = ("--rate", 48_000, "--channels", 2, "--json-lines", "--no-partials")
    done = mega_asr("stream", "-", *TINY, *arguments, cwd=tmp_path, stdin=stereo)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["type"] for event in events] == ["speech_started", "speech_stopped", "final"]
    assert events[-1]["segment"]["text"].startswith(BEGINNING)


def test_a_container_comes_through_a_pipe(talk: Path) -> None:
    encoder = ["ffmpeg", "-v", "error", "-t", "5", "-i", talk, "-f", "matroska", "-"]
    with subprocess.Popen(encoder, stdout=subprocess.PIPE) as encoded:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, "stream", "-", *TINY],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=encoded.stdout,
            capture_output=True,
            timeout=HANGING_S,
            check=True,
        )
    assert BEGINNING in done.stdout.decode().splitlines()[0]


def test_after_a_kill_nothing_final_is_lost(talk: Path, tmp_path: Path) -> None:
    journal, recording = tmp_path / "live.events.jsonl", tmp_path / "live.wav"
    child = started(talk, "--pace", 1, "-o", tmp_path / "live.txt", "--record", recording)
    with child:
        wait_for(lambda: journal.is_file() and '"final"' in journal.read_text("utf-8"), child)
        child.send_signal(signal.SIGKILL)
    (final,) = [event for event in read_events(journal) if event["type"] == "final"]
    text = final["segment"]["text"]
    assert text.startswith(BEGINNING)
    assert (tmp_path / "live.txt").read_text(encoding="utf-8") == text + "\n"
    # The audio that was recorded can be transcribed again.
    recorded = read(recording).samples
    bounds = [round(final["segment"][f"chunk_{end}"] * 16_000) for end in ("start", "end")]
    assert len(recorded) >= bounds[1]
    asr = MegaASR.from_pretrained("tiny", device="cpu")
    assert asr.transcribe(recorded[slice(*bounds)], sample_rate=16_000).text == text


@pytest.mark.slow
def test_on_a_terminal_volatile_text_is_dim_and_ctrl_c_ends_cleanly(
    talk: Path, tmp_path: Path
) -> None:
    terminal, screen = pty.openpty()
    # Slowly, since partial texts are left out while the machine is behind the audio.
    child = started(talk, "--pace", 0.25, "-o", tmp_path / "live.jsonl", stdout=screen)
    events = tmp_path / "live.jsonl"
    with child:
        os.close(screen)
        wait_for(lambda: events.is_file() and '"partial"' in events.read_text("utf-8"), child)
        child.send_signal(signal.SIGINT)
        assert child.wait(HANGING_S) == 0
        assert child.stderr is not None
        assert b"utterances with words" in child.stderr.read()
    shown = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert "\r\x1b[K" in shown
    assert "\x1b[2m" in shown
    last = list(read_events(events))[-1]
    assert last["type"] == "final"
    assert last["segment"]["text"].startswith("I think that my")
    assert last["segment"]["text"] in shown.splitlines()[-1]


def test_a_full_disk_ends_the_recording_and_nothing_else(talk: Path, tmp_path: Path) -> None:
    arguments = ("-o", "live.txt", "--record", "live.wav")
    with largest_file(100_000):  # in the first utterance
        done = mega_asr("stream", talk, *TINY, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "live.wav ends after 3.0 s (File too large)" in done.stderr
    assert len((tmp_path / "live.txt").read_text(encoding="utf-8").splitlines()) == 2
    assert len(read(tmp_path / "live.wav").samples) == 48_000


def test_existing_files_are_found_before_any_file_is_made(tmp_path: Path) -> None:
    for name in ("a.events.jsonl", "b.wav"):
        (tmp_path / name).touch()
    for name in ("a", "b"):
        outputs = ("-o", f"{name}.srt", "--record", f"{name}.wav")
        done = mega_asr("stream", CLIP, *TINY, *outputs, cwd=tmp_path)
        assert done.returncode == 2
        assert "exists" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.events.jsonl", "b.wav"]


@pytest.mark.slow
def test_files_are_continued_when_nobody_reads_the_output(talk: Path, tmp_path: Path) -> None:
    child = started(talk, "--json-lines", "-o", tmp_path / "a.txt", stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.wait(HANGING_S) == 0
        assert b"nobody reads standard output any more" in child.stderr.read()
    assert len((tmp_path / "a.txt").read_text(encoding="utf-8").splitlines()) == 2


@pytest.mark.parametrize(
    "arguments", [("--rate", 16_000), pytest.param((), marks=pytest.mark.slow)]
)
def test_ctrl_c_ends_cleanly_while_standard_input_is_open(
    talk: Path, tmp_path: Path, arguments: tuple[object, ...]
) -> None:
    data = pcm_16(read(talk).samples[: 6 * 16_000]).astype("<i2").tobytes()
    if not arguments:
        data = talk.read_bytes()[: 6 * 32_000]
    events = tmp_path / "live.jsonl"
    child = started("-", *arguments, "-o", events, stdin=subprocess.PIPE)
    with child:
        assert child.stdin is not None
        assert child.stderr is not None
        child.stdin.write(data)
        child.stdin.flush()  # and it stays open
        wait_for(lambda: events.is_file() and '"speech_started"' in events.read_text(), child)
        child.send_signal(signal.SIGINT)
        assert child.wait(HANGING_S) == 0, child.stderr.read()
        assert b"utterances with words" in child.stderr.read()
    assert any(event["type"] == "final" for event in read_events(events))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.wav",), "missing.wav: no such file"),
        (("missing.wav", "--rate", 8_000), "use - as SOURCE"),
        (("-", "--rate", 8_000, "--format", "mp3"), "choose one of s16le"),
        (("-", "--format", "f32le"), "add their --rate"),
        ((CLIP, "--channels", 2), "add their --rate"),
        (("-", "--pace", 1), "has its own pace"),
        (("-", "--rate", 80), "4000 to 192000"),
        (("-", "--rate", 8_000, "--step", 0), "step_s is 0"),
        (("-", "--rate", 8_000, "-o", "a.docx"), "the suffix decides the format"),
        (("-", "--rate", 8_000, "--language", "Klingon"), "Klingon"),
        ((CLIP, "-o", "a.srt", "-o", "./a.srt"), "a.srt is named twice"),
        ((CLIP, "-o", "a.srt", "-o", "no/a.txt"), "no/a.txt: No such file"),
        ((CLIP, "-o", "a.srt", "--record", "a.wav", "--model", "missing"), "no model missing"),
        ((CLIP, "-o", "a.srt", "--record", "a.wav", "--speech-threshold", 7), "threshold is 7"),
        (("microphone:none", "-o", "a.srt", "--record", "a.wav"), "microphone"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: tuple[object, ...], message: str, tmp_path: Path
) -> None:
    done = mega_asr("stream", *TINY, *arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
