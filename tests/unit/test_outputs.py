"""Output folders: names of files, resuming, and processes that are killed at any moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from megaasr.atomic import write_atomically
from megaasr.errors import UsageError
from megaasr.records import Segment, Transcript
from megaasr.transcribe.outputs import (
    INDEX_NAME,
    AudioInput,
    OutputFolder,
)

HELLO = Transcript("Hello.", "en", 1.0, "fake", (Segment(0.0, 1.0, "Hello.", "en"),))
SETTINGS = {"model": "tiny", "language": None, "context": ""}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_recording(path: str, content: str = "sound") -> AudioInput:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return AudioInput(path)


def open_folder(
    *inputs: AudioInput, formats: tuple[str, ...] = ("txt",), settings: object = None
) -> OutputFolder:
    folder = OutputFolder(Path("out"), formats, {"model": "tiny", "more": settings})
    folder.assign_names(inputs)
    return folder


def names(*inputs: AudioInput) -> list[str]:
    folder = open_folder(*inputs)
    return [
        path.relative_to("out").as_posix()
        for recording in inputs
        for path in folder.paths(recording)
    ]


def transcribe(folder: OutputFolder, recording: AudioInput) -> None:
    folder.hash_input(recording)
    folder.write(recording, [HELLO])


def test_files_are_named_as_whisper_names_them() -> None:
    assert names(make_recording("talks/monday.mp3"), make_recording("v1.2.wav")) == [
        "monday.txt",
        "v1.2.txt",
    ]
    assert names(AudioInput("-")) == ["stdin.txt"]


def test_every_format_is_written() -> None:
    recording = make_recording("a.wav")
    folder = open_folder(recording, formats=("txt", "srt", "vtt", "tsv", "json"))
    paths = folder.write(recording, [HELLO])
    assert [path.name for path in paths] == ["a.txt", "a.srt", "a.vtt", "a.tsv", "a.json"]
    assert json.loads(paths[-1].read_text()) == HELLO.to_dict()
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(
        [INDEX_NAME, *(path.name for path in paths)]
    )


def test_equal_stems_do_not_overwrite_each_other() -> None:
    inputs = [
        make_recording(path) for path in ("a.wav", "a.mp3", "x/a.mp3", "y/x/a.mp3", "z/x/a.mp3")
    ]
    assert names(*inputs) == [
        *["a.txt", "a.mp3.txt", "x_a.mp3.txt"],
        *["a.mp3-2.txt", "a.mp3-3.txt"],
    ]
    # Names with a suffix may be taken as well.
    assert names(
        make_recording("a.wav"), make_recording("a.wav.wav"), make_recording("b/a.wav")
    ) == [*["a.txt", "a.wav.txt", "b_a.wav.txt"]]


def test_names_that_some_file_systems_do_not_distinguish() -> None:
    assert names(make_recording("A.wav"), make_recording("a.mp3")) == ["A.txt", "a.mp3.txt"]
    composed, decomposed = "caf\u00e9.wav", "cafe\u0301.mp3"
    assert names(make_recording(composed), make_recording(decomposed))[1] == "cafe\u0301.mp3.txt"


def test_an_input_is_never_overwritten() -> None:
    Path("out").mkdir()
    assert names(make_recording("out/notes.txt", "not audio, but a note")) == ["notes.txt.txt"]


def test_folders_are_mirrored() -> None:
    may = AudioInput(make_recording("talks/may/a.wav").audio, "may")
    june = AudioInput(make_recording("talks/june/a.wav").audio, "june")
    folder = open_folder(may, june)
    for recording in (may, june):
        transcribe(folder, recording)
    assert Path("out/may/a.txt").read_text() == Path("out/june/a.txt").read_text() == "Hello.\n"


def test_a_later_run_keeps_the_transcripts_of_other_recordings() -> None:
    monday, tuesday = make_recording("monday/talk.wav"), make_recording("tuesday/talk.wav")
    transcribe(open_folder(monday), monday)
    assert names(tuesday) == ["talk.wav.txt"]
    # The order on the command line does not matter: every recording keeps its name.
    assert names(tuesday, monday) == ["talk.wav.txt", "talk.txt"]
    # A claim ends with the recording, or with its transcript.
    Path("out/talk.txt").unlink()
    assert names(tuesday) == ["talk.txt"]


def test_a_claim_holds_where_the_output_folder_is_a_link() -> None:
    Path("far/away/below").mkdir(parents=True)
    Path("out").symlink_to("far/away/below")
    monday = make_recording("monday/talk.wav")
    transcribe(open_folder(monday), monday)
    assert names(make_recording("tuesday/talk.wav")) == ["talk.wav.txt"]


def test_a_file_called_dash_is_not_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("out").mkdir()
    monkeypatch.chdir("out")
    make_recording("-")
    dash, stdin = AudioInput("./-"), AudioInput("-")
    folder = OutputFolder(Path(), ["txt"], SETTINGS)
    folder.assign_names([dash, stdin])
    paths = [path for recording in (dash, stdin) for path in folder.paths(recording)]
    assert [path.name for path in paths] == ["-.txt", "stdin.txt"]
    transcribe(folder, dash)
    again = OutputFolder(Path(), ["txt"], SETTINGS)
    again.assign_names([dash])
    assert again.is_done(dash)


def test_a_claim_ends_with_the_recording() -> None:
    monday, tuesday = make_recording("monday/talk.wav"), make_recording("tuesday/talk.wav")
    transcribe(open_folder(monday), monday)
    Path("monday/talk.wav").unlink()
    assert names(tuesday) == ["talk.txt"]


def test_resume_skips_only_unchanged_recordings() -> None:
    recording = make_recording("a.wav")
    assert not open_folder(recording).is_done(recording)
    transcribe(open_folder(recording), recording)
    assert open_folder(recording).is_done(recording)
    assert not open_folder(recording, settings="other").is_done(recording)
    assert not open_folder(recording, formats=("txt", "srt")).is_done(recording)
    make_recording("a.wav", "other sound")
    assert not open_folder(recording).is_done(recording)
    make_recording("a.wav", "sound")  # a new modification time, but the same bytes
    assert open_folder(recording).is_done(recording)
    Path("out/a.txt").unlink()
    assert not open_folder(recording).is_done(recording)


def test_resume_works_for_any_subset_of_the_formats() -> None:
    recording = make_recording("a.wav")
    transcribe(open_folder(recording, formats=("txt", "srt")), recording)
    assert open_folder(recording, formats=("srt",)).is_done(recording)


def test_old_formats_do_not_count_after_other_settings() -> None:
    recording = make_recording("a.wav")
    transcribe(open_folder(recording, formats=("txt", "srt"), settings="old"), recording)
    transcribe(open_folder(recording, formats=("txt",), settings="new"), recording)
    assert not open_folder(recording, formats=("srt",), settings="new").is_done(recording)


def test_everything_may_be_moved_together() -> None:
    recording = make_recording("work/a.wav")
    folder = OutputFolder(Path("work/out"), ["txt"], SETTINGS)
    folder.assign_names([recording])
    transcribe(folder, recording)
    Path("work").rename("moved")
    moved = OutputFolder(Path("moved/out"), ["txt"], SETTINGS)
    moved.assign_names([AudioInput("moved/a.wav")])
    assert moved.is_done(AudioInput("moved/a.wav"))


def test_standard_input_is_never_done() -> None:
    recording = AudioInput("-")
    transcribe(open_folder(recording), recording)
    assert Path("out/stdin.txt").exists()
    assert not open_folder(recording).is_done(recording)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_read_for_its_hash() -> None:
    os.mkfifo("pipe.wav")
    recording = AudioInput("pipe.wav")
    folder = open_folder(recording)
    folder.hash_input(recording)  # reading would block forever
    folder.write(recording, [HELLO])
    assert not open_folder(recording).is_done(recording)


@pytest.mark.parametrize(
    "junk",
    [
        b'{"audio": "../a.wav", "name": "a", "for',
        b"\xff\xfe\x00rubbish\n[]\n{}\n17\n",
        b'{"audio": "x", "name": "../../evil", "formats": ["txt"], "input_hash": null, '
        b'"settings_hash": ""}\n',
        b'{"audio": 5, "name": "x", "formats": ["txt"], "input_hash": null, "settings_hash": ""}\n',
        b'{"audio": [5], "name": "x", "formats": ["a"], "input_hash": null, "settings_hash": ""}\n',
    ],
)
def test_damaged_lines_of_the_index_are_ignored(junk: bytes) -> None:
    finished, new = make_recording("a.wav"), make_recording("b.wav")
    transcribe(open_folder(finished), finished)
    with Path("out", INDEX_NAME).open("ab") as index:
        index.write(junk)
    folder = open_folder(finished, new)
    assert folder.is_done(finished)
    transcribe(folder, new)
    assert open_folder(finished, new).is_done(new)


def test_the_index_cannot_name_files_outside_the_folder() -> None:
    recording = make_recording("a.wav")
    Path("out").mkdir()
    entry: dict[str, object] = {"audio": "../a.wav", "name": "../../evil", "formats": ["txt"]}
    entry |= {"input_hash": None, "settings_hash": ""}
    Path("out", INDEX_NAME).write_text(json.dumps(entry) + "\n")
    assert names(recording) == ["a.txt"]


def test_a_run_that_was_interrupted_while_writing_is_not_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recording = make_recording("a.wav")
    transcribe(open_folder(recording, settings="old"), recording)

    def stop(path: Path, text: str) -> None:
        write_atomically(path, text)
        raise KeyboardInterrupt

    monkeypatch.setattr("megaasr.transcribe.outputs.write_atomically", stop)
    with pytest.raises(KeyboardInterrupt):
        transcribe(open_folder(recording, settings="new"), recording)
    # The file on disk has the new text now, so that the old run's outputs are incomplete too.
    assert not open_folder(recording, settings="old").is_done(recording)
    assert not open_folder(recording, settings="new").is_done(recording)


def test_a_failed_write_keeps_the_old_file(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("a.txt")
    write_atomically(path, "old")

    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in Path().iterdir()] == ["a.txt"]


def test_two_writers_of_a_file_use_different_temporary_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, parts = Path("a.txt"), []
    replace = Path.replace

    def write_another_one_first(self: Path, target: Path) -> Path:
        parts.append(self)
        if len(parts) == 1:
            write_atomically(path, "second")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", write_another_one_first)
    write_atomically(path, "first")
    assert len(set(parts)) == 2
    assert path.read_text() == "first"
    assert [file.name for file in Path().iterdir()] == ["a.txt"]


def test_names_may_have_the_maximum_length() -> None:
    path = Path("n" * 251 + ".txt")
    write_atomically(path, "text")
    assert path.read_text() == "text"


def test_names_that_are_not_unicode_survive_in_json() -> None:
    write_atomically(Path("a.json"), json.dumps({"audio": "a\udcff.wav"}, ensure_ascii=False))
    assert json.loads(Path("a.json").read_text()) == {"audio": "a\udcff.wav"}


def test_a_folder_that_cannot_be_created_is_wrong_usage() -> None:
    Path("out").write_text("a file")
    with pytest.raises(UsageError, match="--output-dir"):
        OutputFolder(Path("out"), ["txt"], SETTINGS)


_ENDLESS = """
import sys
from itertools import count
from pathlib import Path
from megaasr.records import Segment, Transcript
from megaasr.transcribe.outputs import AudioInput, OutputFolder

recording = AudioInput("a.wav")
for number in count():
    folder = OutputFolder(Path("out"), ["txt", "json"], {"number": number})
    folder.assign_names([recording])
    folder.hash_input(recording)
    text = f"{number} " * 20_000
    transcript = Transcript(text, "en", 1.0, "m", (Segment(0.0, 1.0, text, "en"),))
    folder.write(recording, [transcript])
    print(number, flush=True)
"""


def test_kill_9_at_any_moment(tmp_path: Path) -> None:
    recording = make_recording("a.wav")
    for attempt in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", _ENDLESS],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.003 * attempt)
        process.kill()
        last = int((process.stdout.read().split() or ["0"])[-1])
        process.wait()
        text = Path("out/a.txt").read_text().split()
        assert len(set(text)) == 1
        assert len(text) == 20_000
        segments = json.loads(Path("out/a.json").read_text())["segments"]
        assert len(segments[0]["text"].split()) == 20_000
        done = []
        for number in range(last + 3):
            folder = OutputFolder(Path("out"), ["txt", "json"], {"number": number})
            folder.assign_names([recording])
            if folder.is_done(recording):
                done.append(number)
        # At most the run whose text both files contain is done.
        assert done in ([], [int(text[0])])
        if done:
            assert segments[0]["text"].split()[0] == text[0]
