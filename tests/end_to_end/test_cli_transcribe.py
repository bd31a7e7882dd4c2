"""The command `mega-asr transcribe`: text, files, failures, resuming, signals, pipes."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from hanging import HANGING_S
from megaasr.cli.main import main
from megaasr.errors import ModelNotFoundError
from megaasr.hub import HubOptions
from megaasr.model.interface import Recognition, Request
from megaasr.transcribe.outputs import OutputFolder

RATE = 16_000
# The command line in another process, with the model of this file, slowed down for interruptions.
_PROGRAM = """
import signal, sys, time
# As on a terminal: a shell has programs that it starts in the background ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {folder!r})
import megaasr.model.loading
import test_cli_transcribe as tests
class Slow(tests.ToneModel):
    def recognize(self, requests):
        time.sleep({delay_s})
        return super().recognize(requests)
    def lose_ctrl_c(self, requests):  # Ctrl-C in a finaliser, from which Python raises nothing
        class Finaliser:
            def __del__(self):
                signal.raise_signal(signal.SIGINT)
        Finaliser()
        return super().recognize(requests)
if {lose_ctrl_c}:
    Slow.recognize = Slow.lose_ctrl_c
megaasr.model.loading.load_model = lambda name, **settings: Slow(name)
from megaasr.cli.main import main
main()
"""


_NO_VAD = ("--no-vad",)  # tones are not speech


class ToneModel:
    """Transcribes tones as their frequency in Hz; above 1 kHz there is no speech, and 90 Hz exceeds
    the token budget."""

    has_robust_route = False

    def __init__(self, name: str = "tiny") -> None:
        self.name = name

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        return [self._recognize_tone(request) for request in requests]

    def _recognize_tone(self, request: Request) -> Recognition:
        tone_samples = request.samples[request.samples != 0.0]
        crossings = np.count_nonzero(np.diff(np.signbit(tone_samples)))
        hertz = round(crossings / 2 / (len(tone_samples) / RATE) / 10) * 10
        if hertz > 1000:
            return Recognition("", None, 3, False, "language None<asr_text>")
        words = " ".join([str(hertz), request.context]).strip()
        return Recognition(words, request.language or "en", 5, hertz == 90, "")


def wav(path: str, hertz: float = 200.0, duration_s: float = 1.0) -> str:
    time_s = np.arange(round(duration_s * RATE)) / RATE
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hertz * time_s + 0.1), RATE)
    return path


@dataclass
class Result:
    status: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def loaded() -> list[tuple[str, dict[str, object]]]:
    """Names and settings of the models that were loaded."""
    return []


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    loaded: list[tuple[str, dict[str, object]]],
) -> Run:
    """Run `mega-asr transcribe` in this process, with the model of this file."""

    def load_model(name: str, **settings: object) -> ToneModel:
        if name == "nobody/nothing":
            raise ModelNotFoundError("no model nobody/nothing\nuse --model tiny")
        loaded.append((name, settings))
        return ToneModel(name)

    monkeypatch.setattr("megaasr.model.loading.load_model", load_model)

    def transcribe(*arguments: str) -> Result:
        # Without --model the command prints a note about tiny.
        model = () if "--model" in arguments else ("--model", "tiny")
        with pytest.raises(SystemExit) as ended:
            main(["transcribe", *_NO_VAD, *arguments, *model])
        captured = capsys.readouterr()
        return Result(int(ended.value.code or 0), captured.out, captured.err)

    return transcribe


def process(
    *arguments: str, delay_s: float = 0.0, lose_ctrl_c: bool = False, **settings: object
) -> subprocess.Popen[str]:
    """Start `mega-asr` in another process, with the model of this file."""
    program = _PROGRAM.format(
        folder=str(Path(__file__).parent), delay_s=delay_s, lose_ctrl_c=lose_ctrl_c
    )
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-c", program, *arguments, *_NO_VAD], text=True, env=environment, **streams
    )


def written(folder: str = "out") -> list[str]:
    paths = Path(folder).rglob("*")
    return sorted(path.relative_to(folder).as_posix() for path in paths if path.is_file())


# What is printed


def test_without_a_model_the_command_names_the_default_and_its_limits(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["transcribe", wav("a.wav"), *_NO_VAD])
    assert "without --model this is small" in capsys.readouterr().err
    assert "without --model" not in run("a.wav").err


def test_one_file_prints_its_text_and_writes_nothing(run: Run) -> None:
    result = run(wav("a.wav"))
    assert (result.status, result.out) == (0, "200\n")
    assert written(".") == ["a.wav"]
    assert result.err.startswith("1 file: 1 transcribed; 1.0 s of audio in ")
    assert "RTFx" in result.err
    assert result.err.count("\n") == 1


def test_several_files_have_headings(run: Run) -> None:
    result = run(wav("a.wav"), wav("b.wav", 3000), wav("c.wav", 300))
    assert result.out == "==> a.wav <==\n200\n\n==> b.wav <==\n\n==> c.wav <==\n300\n"
    assert "mega-asr: note: b.wav: no speech was detected\n" in result.err


def test_live_lines_as_whisper_prints_them(run: Run) -> None:
    assert run(wav("a.wav"), "--verbose", "True").out == "[00:00.000 --> 00:01.000]  200\n"
    assert run(wav("a.wav"), "--verbose=false").out == "200\n"


def test_json_lines(run: Run) -> None:
    Path("b.wav").write_text("no audio")
    result = run(wav("a.wav"), "b.wav", wav("c.wav", 3000), "--json-lines")
    a, b, c = (json.loads(line) for line in result.out.splitlines())
    assert result.status == 1
    assert (a["audio"], a["text"], a["schema"]) == ("a.wav", "200", 2)
    assert list(b) == ["audio", "error"]
    assert b["audio"] == "b.wav"
    assert (c["text"], c["reason"]) == ("", "no speech was detected")


def test_warnings_are_one_line(run: Run) -> None:
    time_s = np.arange(30 * RATE) / RATE
    soundfile.write("cut.flac", 0.3 * np.sin(2 * np.pi * 200 * time_s), RATE)
    data = Path("cut.flac").read_bytes()
    Path("cut.flac").write_bytes(data[: len(data) // 2])
    result = run("cut.flac", wav("full.wav", 90))
    lines = result.err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("mega-asr: warning: cut.flac: ")
    assert lines[1] == (
        "mega-asr: warning: full.wav: words may be missing, the token budget ended 1 of 1 segments"
    )
    assert result.status == 0


def test_a_file_name_cannot_write_to_the_terminal(run: Run) -> None:
    result = run("\x1b[31mevil\n.wav")
    assert "\x1b" not in result.err
    assert result.err.count("\n") == 2


def test_json_lines_are_json_in_any_encoding_of_stdout(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = wav("\u00e9\u009b31m\u2028\U0001f399.wav")
    result = run(name, "--json-lines")
    assert "\u00e9" in result.out
    assert not {"\u009b", "\u2028"} & set(result.out)
    assert json.loads(result.out)["audio"] == name
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stdout)
    run(name, "--json-lines")
    assert json.loads(stdout.buffer.getvalue())["audio"] == name  # type: ignore[attr-defined]


# What is written


def test_output_dir_writes_all_formats(run: Run) -> None:
    result = run(wav("a.wav"), "-o", "out/deep")
    assert (result.status, result.out) == (0, "")
    expected = [".mega-asr.jsonl", "a.json", "a.srt", "a.tsv", "a.txt", "a.vtt"]
    assert written("out/deep") == expected
    document = json.loads(Path("out/deep/a.json").read_text())
    assert (document["audio"], document["model"], document["text"]) == ("a.wav", "tiny", "200")


@pytest.mark.parametrize("format", ["txt", "srt", "vtt", "tsv", "json"])
def test_output_format_writes_here(run: Run, format: str) -> None:
    assert run(wav("a.wav"), "-f", format).status == 0
    assert written(".") == sorted([".mega-asr.jsonl", f"a.{format}", "a.wav"])


@pytest.mark.parametrize(
    ("arguments", "formats"),
    [
        (["-f", "srt", "-f", "txt"], ["srt", "txt"]),
        (["-f", "json,srt"], ["json", "srt"]),
        (["--output_format=json,srt", "-f", "srt, vtt"], ["json", "srt", "vtt"]),
        (["-f", "srt,all"], ["json", "srt", "tsv", "txt", "vtt"]),
    ],
)
def test_several_output_formats(run: Run, arguments: list[str], formats: list[str]) -> None:
    assert run(wav("in/a.wav"), "-o", "out", *arguments).status == 0
    assert written("out") == [".mega-asr.jsonl", *(f"a.{format}" for format in formats)]


@pytest.mark.parametrize("dash", ["-", "_"])
def test_options_take_dashes_and_underscores(
    run: Run, dash: str, loaded: list[tuple[str, dict[str, object]]]
) -> None:
    options = ["--output-dir", "out", "--output-format=txt", "--batch-size", "3"]
    options += ["--initial-prompt", "a_b-c"]
    options = [o[:2] + o[2:].replace("-", dash, 1) if o[:2] == "--" else o for o in options]
    assert run(wav("a.wav"), *options, "--language", "German", "--device=cpu").status == 0
    assert Path("out/a.txt").read_text() == "200 a_b-c\n"
    settings = {"device": "cpu", "dtype": None, "hub": HubOptions(), "batch_size": 3}
    settings |= {"encoder_attention": "windowed", "time_words": True, "adapter": None}
    assert loaded == [("tiny", settings)]


def test_a_model_is_made_to_fit_into_memory(
    run: Run, loaded: list[tuple[str, dict[str, object]]]
) -> None:
    result = run(wav("a.wav"), "--memory", "0.6 GB", "--device", "cpu")
    assert result.status == 0
    assert re.search(r"note: tiny needs about 0\.5\d GB: weights .* batches of 1,", result.err)
    assert run(wav("a.wav"), "--memory=8G", "--batch-size=3", "--dtype=int8").status == 0
    settings = [(setting["dtype"], setting["batch_size"]) for _, setting in loaded]
    assert settings == [("float32", 1), ("int8", 3)]


@pytest.mark.parametrize(
    ("memory", "message"),
    [("8", "write a number and its unit"), ("1MB", "does not fit into 0.001 GB of memory")],
)
def test_memory_that_is_no_size_or_too_small(run: Run, memory: str, message: str) -> None:
    result = run(wav("a.wav"), "--memory", memory, "--device", "cpu")
    assert result.status == 2
    assert message in result.err
    assert result.out == ""


def test_equal_stems(run: Run) -> None:
    run(wav("a.wav", 200), wav("x/a.wav", 300), "-o", "out", "-f", "txt")
    assert Path("out/a.txt").read_text() == "200\n"
    assert Path("out/a.wav.txt").read_text() == "300\n"


def test_folders(run: Run) -> None:
    wav("talks/b.wav", 300)
    wav("talks/A.flac", 200)
    wav("talks/may/a.WAV", 400)
    wav("talks/.hidden/h.wav")
    wav("talks/.h.wav")
    Path("talks/notes.txt").write_text("notes")
    assert run("talks").out == "==> talks/A.flac <==\n200\n\n==> talks/b.wav <==\n300\n"
    result = run("talks", "talks/b.wav", "--recursive", "-o", "out", "-f", "txt")
    assert result.status == 0
    assert written() == [".mega-asr.jsonl", "A.txt", "b.txt", "may/a.txt"]


def test_a_folder_without_recordings_fails(run: Run) -> None:
    Path("empty").mkdir()
    result = run("empty", wav("a.wav"))
    assert (result.status, result.out) == (1, "==> a.wav <==\n200\n")
    assert "mega-asr: error: empty: no recordings (.wav" in result.err
    assert "--recursive" in result.err


def test_too_long_names_fail_alone(run: Run) -> None:
    result = run("n" * 300, wav("a.wav"))
    assert (result.status, result.out) == (1, "==> a.wav <==\n200\n")
    assert "n: cannot be opened: " in result.err


def test_a_folder_that_cannot_be_read_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    wav("talks/a.wav")
    wav("talks/closed/b.wav")
    scandir = os.scandir

    def refuse(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("closed"):  # as root, the tests could read any folder
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr("os.scandir", refuse)
    result = run("talks", "--recursive")
    assert (result.status, result.out) == (1, "==> talks/a.wav <==\n200\n")
    assert "error: talks/closed: the folder cannot be read: Permission denied" in result.err


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes here")
def test_a_pipe_in_a_folder_is_ignored(run: Run) -> None:
    wav("talks/a.wav")
    os.mkfifo("talks/b.wav")
    assert (run("talks").status, run("talks").out) == (0, "200\n")


def test_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Path(wav("a.wav")).read_bytes()
    for arguments in (["-", "--json-lines"], ["-", "-o", "out", "-f", "json"]):
        stdin = SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False)
        monkeypatch.setattr("sys.stdin", stdin)
        result = run(*arguments)
        assert result.status == 0
        text = result.out or Path("out/stdin.json").read_text()
        assert (json.loads(text)["text"], json.loads(text)["audio"]) == ("200", "-")


def test_a_hundred_files_with_five_broken(run: Run) -> None:
    files = [wav(f"many/{number:03}.wav", 200 + 10 * (number % 50), 0.3) for number in range(95)]
    broken = {
        "many/bad010.flac": b"",
        "many/bad020.wav": b"hello",
        "many/bad030.mp3": os.urandom(2000),
        "many/nan.wav": b"",
        "missing.wav": None,
    }
    for path, content in broken.items():
        if content is not None:
            Path(path).write_bytes(content)
    soundfile.write("many/nan.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    result = run("many", "missing.wav", "-o", "out", "-f", "txt")
    assert result.status == 1
    assert len(written()) == 96
    for number, path in enumerate(files):
        text = Path("out", Path(path).stem + ".txt").read_text()
        assert text == f"{200 + 10 * (number % 50)}\n"
    errors = [line for line in result.err.splitlines() if "mega-asr: error: " in line]
    assert sorted(line.split(": ")[2] for line in errors) == sorted(broken)
    assert all(line.split(": ", 3)[3] for line in errors)
    assert "100 files: 95 transcribed, 5 failed; " in result.err.splitlines()[-1]


def test_a_transcript_that_cannot_be_written_fails_alone(run: Run) -> None:
    Path("out/a.txt").mkdir(parents=True)
    result = run(wav("a.wav"), wav("b.wav", 300), "-o", "out", "-f", "txt")
    assert result.status == 1
    assert "mega-asr: error: a.wav: the transcript cannot be written: " in result.err
    assert Path("out/b.txt").read_text() == "300\n"


# Resuming


def test_resume(run: Run, loaded: list[tuple[str, dict[str, object]]]) -> None:
    files = [wav("a.wav", 200), wav("b.wav", 300), wav("c.wav", 400)]
    arguments = ["-o", "out", "-f", "txt", "--resume", "--json-lines"]
    run(*files[:2], *arguments)
    Path("out/a.txt").write_text("corrected by hand")
    Path("broken.wav").write_text("no audio")
    result = run(files[0], "broken.wav", *files[1:], *arguments)
    documents = [json.loads(line) for line in result.out.splitlines()]
    assert documents[0] == {"audio": "a.wav", "skipped": True}
    assert documents[1]["audio"] == "broken.wav"
    assert documents[2] == {"audio": "b.wav", "skipped": True}
    assert documents[3]["text"] == "400"
    assert "4 files: 1 transcribed, 2 already done, 1 failed; " in result.err
    assert Path("out/a.txt").read_text() == "corrected by hand"
    assert len(loaded) == 2
    assert run(*files, *arguments).status == 0
    assert len(loaded) == 2  # with nothing to do no model is loaded


def test_resume_with_other_settings_transcribes_again(run: Run) -> None:
    wav("a.wav")
    run("a.wav", "-f", "txt")
    result = run("a.wav", "-f", "txt", "--resume", "--context", "Ada")
    assert "1 transcribed" in result.err
    assert Path("a.txt").read_text() == "200 Ada\n"


# Wrong usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument"),
        (["a.wav", "--nonsense"], "No such option"),
        (["a.wav", "-f", "docx"], "unknown output format 'docx'; choose one of txt, srt"),
        (["a.wav", "-f", "srt,docx"], "unknown output format 'docx'"),
        (["a.wav", "-f", "srt,"], "unknown output format ''"),
        (["a.wav", "--batch-size", "0"], "batch"),
        (["a.wav", "--task", "translate"], "--task translate is not supported"),
        (["a.wav", "--temperature", "0.2"], "--temperature of whisper has no meaning here"),
        (["a.wav", "--word_timestamps=False"], "words always have times"),
        (["a.wav", "--highlight_words=perhaps"], "--highlight-words perhaps is neither True nor"),
        (["a.wav", "--max_words_per_line=3"], "--max-words-per-line of whisper has no meaning"),
        (["a.wav", "--max_line_width=2"], "max-line-width"),
        (["a.wav", "--model_dir", "x"], "HF_HOME"),
        (["a.wav", "--verbose", "maybe"], "neither True nor False"),
        (["a.wav", "--resume"], "--resume needs files"),
        (["a.wav", "--language", "Klingon"], "unknown language 'Klingon'"),
        ([""], "AUDIO arguments is empty"),
        (["a.wav", "-o", "a.wav"], "cannot be written in"),
    ],
)
def test_wrong_usage(
    run: Run,
    arguments: list[str],
    message: str,
    loaded: list[tuple[str, dict[str, object]]],
) -> None:
    wav("a.wav")
    result = run(*arguments)
    assert result.status == 2
    assert message in " ".join(result.err.split())
    assert "Traceback" not in result.err
    assert loaded == []


def test_whispers_default_task_is_accepted(run: Run) -> None:
    assert run(wav("a.wav"), "--task", "transcribe").status == 0


def test_standard_input_must_not_be_the_keyboard(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    result = run("-")
    assert result.status == 2
    assert "terminal" in result.err


def test_an_unknown_model_is_one_line(run: Run) -> None:
    result = run(wav("a.wav"), "--model", "nobody/nothing")
    assert result.status == 1
    assert result.err == "mega-asr: error: no model nobody/nothing use --model tiny\n"


def test_a_missing_file_costs_no_loading(
    run: Run, loaded: list[tuple[str, dict[str, object]]]
) -> None:
    result = run("missing.wav")
    assert result.status == 1
    assert "mega-asr: error: missing.wav: no such file" in result.err
    assert loaded == []


def test_threads(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(set_num_threads=threads.append))
    run(wav("a.wav"), "--threads", "3")
    assert threads == [3]


# In a process of its own


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a child here")
def test_ctrl_c_leaves_only_complete_files() -> None:
    for number in range(40):
        wav(f"many/{number:02}.wav", 200)
    child = process(
        *["transcribe", "many", "-o", "out", "-f", "json", "--batch-size", "1"], delay_s=0.2
    )
    deadline = time.monotonic() + HANGING_S
    while not list(Path().glob("out/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=HANGING_S)
    assert child.returncode == 130
    assert "interrupted, 40 files: " in err
    assert "Traceback" not in err
    names = [name for name in written() if name != ".mega-asr.jsonl"]
    assert 0 < len(names) < 40
    for name in names:
        assert json.loads(Path("out", name).read_text())["text"] == "200"
    again = process("transcribe", "many", "-o", "out", "-f", "json", "--resume")
    _, err = again.communicate(timeout=HANGING_S)
    assert again.returncode == 0
    # A file that was complete, but not in the index yet, when the signal came is written again.
    before = [n for n in (len(names), len(names) - 1) if f": {40 - n} transcribed" in err]
    assert len(before) == 1
    assert f"{before[0]} already done" in err or not before[0]


def test_ctrl_c_before_the_first_result_is_reported(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = OutputFolder.write

    def write_and_interrupt(*arguments: Any) -> None:
        write(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(OutputFolder, "write", write_and_interrupt)
    result = run(wav("a.wav"), wav("b.wav"), "-o", "out", "-f", "txt")
    assert result.status == 130
    assert "interrupted, 2 files: 0 transcribed" in result.err
    assert "a.txt" in written()


def test_a_ctrl_c_that_python_loses_still_ends_the_run() -> None:
    for number in range(5):
        wav(f"many/{number:02}.wav", 200)
    child = process(
        *["transcribe", "many", "-o", "out", "-f", "json", "--batch-size", "1"], lose_ctrl_c=True
    )
    _, err = child.communicate(timeout=HANGING_S)
    assert child.returncode == 130
    assert "interrupted, 5 files: " in err
    assert len([name for name in written() if name != ".mega-asr.jsonl"]) == 1


def test_a_closed_pipe_is_no_error() -> None:
    for number in range(60):
        wav(f"many/{number:02}.wav", 200)
    child = process("transcribe", "many", "--json-lines", "--batch-size", "1")
    assert child.stdout is not None
    assert child.stderr is not None
    assert json.loads(child.stdout.readline())["text"] == "200"
    child.stdout.close()
    err = child.stderr.read()
    child.wait(timeout=HANGING_S)
    child.stderr.close()
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk to write to")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_full_disk_is_one_line(stream: str) -> None:
    with Path("/dev/full").open("w") as full:
        child = process("transcribe", wav("a.wav"), "--model", "tiny", **{stream: full})
        out, err = child.communicate(timeout=HANGING_S)
    assert child.returncode == 1
    assert "Traceback" not in (err or "")
    assert stream == "stderr" or "mega-asr: error: [Errno 28]" in err
    assert stream == "stdout" or out == "200\n"


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_closed_streams(run: Run, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"sys.{stream}", None)  # as Python does for `<&-` and `>&-`
    result = run(wav("a.wav"), *(["-"] if stream == "stdin" else []))
    assert result.status == (0 if stream == "stderr" else 1)
    assert stream != "stdin" or "-: 0 bytes long" in result.err
    assert stream != "stdout" or "standard output is closed" in result.err


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals here")
def test_on_a_terminal() -> None:
    import pty

    wav("a.wav", 200)
    wav("b.wav", 90)
    Path("c.wav").write_text("no audio")
    parent_end, child_end = pty.openpty()
    streams = {"stdin": child_end, "stdout": child_end, "stderr": child_end}
    child = process("transcribe", "a.wav", "b.wav", "c.wav", **streams)
    os.close(child_end)
    output = b""
    while True:
        try:
            part = os.read(parent_end, 4096)
        except OSError:  # Linux raises when the child's end is closed
            break
        if not part:
            break
        output += part
    os.close(parent_end)
    assert child.wait(timeout=HANGING_S) == 1
    text = output.decode()
    assert "[00:00.000 --> 00:01.000]  200" in text
    assert "==> b.wav <==" in text
    assert "3/3" in text  # the progress bar
    assert "mega-asr: warning: b.wav: words may be missing" in text
    assert "mega-asr: error: c.wav: " in text
    assert "3 files: 2 transcribed, 1 failed" in text


def test_folders_that_are_left_out_are_named(run: Run) -> None:
    wav("talks/a.wav")
    wav("talks/may/b.wav")
    left_out = "talks: recordings in its subfolders are left out; --recursive includes them"
    assert left_out in run("talks").err
    assert left_out not in run("talks", "--recursive").err
    assert left_out not in run("talks/may").err


def test_a_language_that_the_shipped_model_does_not_know_is_a_warning(run: Run) -> None:
    warning = "tiny knows English only; as German its text is meaningless"
    assert warning in run(wav("a.wav"), "--language", "German").err
    assert "knows English only" not in run("a.wav", "--language", "English").err
    assert "knows English only" not in run("a.wav", "--language", "en").err
