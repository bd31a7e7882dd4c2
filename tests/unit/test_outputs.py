"""Names of outputs, resuming, and a process that is killed at any moment."""

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


def recording(path: str, content: str = "sound") -> AudioInput:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return AudioInput(path)


def planned(
    *inputs: AudioInput, formats: tuple[str, ...] = ("txt",), settings: object = None
) -> OutputFolder:
    folder = OutputFolder(Path("out"), formats, {"model": "tiny", "more": settings})
    folder.plan(inputs)
    return folder


def names(*inputs: AudioInput) -> list[str]:
    folder = planned(*inputs)
    return [path.relative_to("out").as_posix() for one in inputs for path in folder.paths(one)]


def transcribe(folder: OutputFolder, one: AudioInput) -> None:
    folder.begin(one)
    folder.write(one, HELLO)


def test_names_are_whispers() -> None:
    assert names(recording("talks/monday.mp3"), recording("v1.2.wav")) == ["monday.txt", "v1.2.txt"]
    assert names(AudioInput("-")) == ["stdin.txt"]


def test_every_format_is_written() -> None:
    one = recording("a.wav")
    folder = planned(one, formats=("txt", "srt", "vtt", "tsv", "json"))
    paths = folder.write(one, HELLO)
    assert [path.name for path in paths] == ["a.txt", "a.srt", "a.vtt", "a.tsv", "a.json"]
    assert json.loads(paths[-1].read_text()) == HELLO.to_dict()
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(
        [INDEX_NAME, *(path.name for path in paths)]
    )


def test_equal_stems_do_not_overwrite_each_other() -> None:
    inputs = [recording(path) for path in ("a.wav", "a.mp3", "x/a.mp3", "y/x/a.mp3", "z/x/a.mp3")]
    assert names(*inputs) == [
        *["a.txt", "a.mp3.txt", "x_a.mp3.txt"],
        *["a.mp3-2.txt", "a.mp3-3.txt"],
    ]
    # Also a name that was made this way may already belong to somebody.
    assert names(recording("a.wav"), recording("a.wav.wav"), recording("b/a.wav")) == [
        *["a.txt", "a.wav.txt", "b_a.wav.txt"]
    ]


def test_names_that_some_file_systems_take_for_one() -> None:
    assert names(recording("A.wav"), recording("a.mp3")) == ["A.txt", "a.mp3.txt"]
    composed, decomposed = "caf\u00e9.wav", "cafe\u0301.mp3"
    assert names(recording(composed), recording(decomposed))[1] == "cafe\u0301.mp3.txt"


def test_an_input_is_never_overwritten() -> None:
    Path("out").mkdir()
    assert names(recording("out/notes.txt", "not audio, but somebody's")) == ["notes.txt.txt"]


def test_folders_are_mirrored() -> None:
    one = AudioInput(recording("talks/may/a.wav").audio, "may")
    two = AudioInput(recording("talks/june/a.wav").audio, "june")
    folder = planned(one, two)
    for each in (one, two):
        transcribe(folder, each)
    assert Path("out/may/a.txt").read_text() == Path("out/june/a.txt").read_text() == "Hello.\n"


def test_a_later_run_leaves_the_transcripts_of_others_alone() -> None:
    monday, tuesday = recording("monday/talk.wav"), recording("tuesday/talk.wav")
    transcribe(planned(monday), monday)
    assert names(tuesday) == ["talk.wav.txt"]
    # The order on the command line does not matter: everybody keeps the name they had.
    assert names(tuesday, monday) == ["talk.wav.txt", "talk.txt"]
    # A claim ends with the recording, or with its transcript.
    Path("out/talk.txt").unlink()
    assert names(tuesday) == ["talk.txt"]


def test_a_claim_holds_where_the_output_folder_is_a_link() -> None:
    Path("far/away/below").mkdir(parents=True)
    Path("out").symlink_to("far/away/below")
    monday = recording("monday/talk.wav")
    transcribe(planned(monday), monday)
    assert names(recording("tuesday/talk.wav")) == ["talk.wav.txt"]


def test_a_file_called_dash_is_not_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("out").mkdir()
    monkeypatch.chdir("out")
    recording("-")
    one, stdin = AudioInput("./-"), AudioInput("-")
    folder = OutputFolder(Path(), ["txt"], SETTINGS)
    folder.plan([one, stdin])
    assert [folder.paths(each)[0].name for each in (one, stdin)] == ["-.txt", "stdin.txt"]
    transcribe(folder, one)
    again = OutputFolder(Path(), ["txt"], SETTINGS)
    again.plan([one])
    assert again.is_done(one)


def test_a_claim_ends_with_the_recording() -> None:
    monday, tuesday = recording("monday/talk.wav"), recording("tuesday/talk.wav")
    transcribe(planned(monday), monday)
    Path("monday/talk.wav").unlink()
    assert names(tuesday) == ["talk.txt"]


def test_resume_skips_only_what_is_the_same() -> None:
    one = recording("a.wav")
    assert not planned(one).is_done(one)
    transcribe(planned(one), one)
    assert planned(one).is_done(one)
    assert not planned(one, settings="other").is_done(one)
    assert not planned(one, formats=("txt", "srt")).is_done(one)
    recording("a.wav", "other sound")
    assert not planned(one).is_done(one)
    recording("a.wav", "sound")  # a new time stamp, but the same bytes
    assert planned(one).is_done(one)
    Path("out/a.txt").unlink()
    assert not planned(one).is_done(one)


def test_resume_works_for_any_subset_of_the_formats() -> None:
    one = recording("a.wav")
    transcribe(planned(one, formats=("txt", "srt")), one)
    assert planned(one, formats=("srt",)).is_done(one)


def test_old_formats_do_not_count_after_other_settings() -> None:
    one = recording("a.wav")
    transcribe(planned(one, formats=("txt", "srt"), settings="old"), one)
    transcribe(planned(one, formats=("txt",), settings="new"), one)
    assert not planned(one, formats=("srt",), settings="new").is_done(one)


def test_everything_may_be_moved_together() -> None:
    one = recording("work/a.wav")
    folder = OutputFolder(Path("work/out"), ["txt"], SETTINGS)
    folder.plan([one])
    transcribe(folder, one)
    Path("work").rename("moved")
    moved = OutputFolder(Path("moved/out"), ["txt"], SETTINGS)
    moved.plan([AudioInput("moved/a.wav")])
    assert moved.is_done(AudioInput("moved/a.wav"))


def test_standard_input_is_never_done() -> None:
    one = AudioInput("-")
    transcribe(planned(one), one)
    assert Path("out/stdin.txt").exists()
    assert not planned(one).is_done(one)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_read_to_make_a_hash() -> None:
    os.mkfifo("pipe.wav")
    one = AudioInput("pipe.wav")
    folder = planned(one)
    folder.begin(one)  # would wait for ever
    folder.write(one, HELLO)
    assert not planned(one).is_done(one)


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
def test_a_damaged_index_costs_nothing_but_work(junk: bytes) -> None:
    one, two = recording("a.wav"), recording("b.wav")
    transcribe(planned(one), one)
    with Path("out", INDEX_NAME).open("ab") as index:
        index.write(junk)
    folder = planned(one, two)
    assert folder.is_done(one)
    transcribe(folder, two)
    assert planned(one, two).is_done(two)


def test_the_index_cannot_point_out_of_the_folder() -> None:
    one = recording("a.wav")
    Path("out").mkdir()
    entry: dict[str, object] = {"audio": "../a.wav", "name": "../../evil", "formats": ["txt"]}
    entry |= {"input_hash": None, "settings_hash": ""}
    Path("out", INDEX_NAME).write_text(json.dumps(entry) + "\n")
    assert names(one) == ["a.txt"]


def test_a_run_that_was_cut_off_while_writing_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    one = recording("a.wav")
    transcribe(planned(one, settings="old"), one)

    def stop(path: Path, text: str) -> None:
        write_atomically(path, text)
        raise KeyboardInterrupt

    monkeypatch.setattr("megaasr.transcribe.outputs.write_atomically", stop)
    with pytest.raises(KeyboardInterrupt):
        transcribe(planned(one, settings="new"), one)
    # The file on disk has the new words now, so it is not the old run's any more.
    assert not planned(one, settings="old").is_done(one)
    assert not planned(one, settings="new").is_done(one)


def test_a_failed_write_leaves_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("a.txt")
    write_atomically(path, "old")

    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [one.name for one in Path().iterdir()] == ["a.txt"]


def test_two_writers_of_one_file_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert [one.name for one in Path().iterdir()] == ["a.txt"]


def test_a_name_may_be_as_long_as_names_can_be() -> None:
    path = Path("n" * 251 + ".txt")
    write_atomically(path, "text")
    assert path.read_text() == "text"


def test_names_that_are_not_text_survive_in_json() -> None:
    write_atomically(Path("a.json"), json.dumps({"audio": "a\udcff.wav"}, ensure_ascii=False))
    assert json.loads(Path("a.json").read_text()) == {"audio": "a\udcff.wav"}


def test_a_folder_that_cannot_be_made_is_wrong_usage() -> None:
    Path("out").write_text("a file")
    with pytest.raises(UsageError, match="--output-dir"):
        OutputFolder(Path("out"), ["txt"], SETTINGS)


_ENDLESS = """
import sys
from itertools import count
from pathlib import Path
from megaasr.records import Segment, Transcript
from megaasr.transcribe.outputs import AudioInput, OutputFolder

one = AudioInput("a.wav")
for number in count():
    folder = OutputFolder(Path("out"), ["txt", "json"], {"number": number})
    folder.plan([one])
    folder.begin(one)
    text = f"{number} " * 20_000
    folder.write(one, Transcript(text, "en", 1.0, "m", (Segment(0.0, 1.0, text, "en"),)))
    print(number, flush=True)
"""


def test_kill_9_at_any_moment(tmp_path: Path) -> None:
    one = recording("a.wav")
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
            folder.plan([one])
            if folder.is_done(one):
                done.append(number)
        # Done is nothing, or just what both files hold.
        assert done in ([], [int(text[0])])
        if done:
            assert segments[0]["text"].split()[0] == text[0]
