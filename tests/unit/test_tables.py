"""Tables as other programs write them: read in full, or refused by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from megaasr.audio.clips import clip_bytes, exists, read_clip
from megaasr.audio.files import read, write
from megaasr.audio.segments import parse_segment, recording_of, segment_name
from megaasr.audio.waveform import SAMPLE_RATE, Waveform
from megaasr.errors import AudioError, RecordError, UsageError
from megaasr.records import Utterance, read_manifest, write_manifest
from megaasr.records.tables import read_rows, read_utterances
from megaasr.score.test_set import read_test_set


def table(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts(path: Path) -> list[str]:
    return [utterance.text for utterance in read_utterances(path)]


def test_quotes_in_a_tsv_quote_nothing(tmp_path: Path) -> None:
    path = table(
        tmp_path / "cv.tsv",
        'path\tsentence\nclip1.mp3\t"Hello there he said\nclip2.mp3\tgood morning\n'
        'clip3.mp3\tthe end" of it\nclip4.mp3\t"whole"\n',
    )
    assert texts(path) == ['"Hello there he said', "good morning", 'the end" of it', '"whole"']


def test_a_tsv_whose_header_is_quoted_quotes_its_cells(tmp_path: Path) -> None:
    path = table(tmp_path / "q.tsv", '"path"\t"sentence"\n"a.wav"\t"he said ""a\tb"""\n')
    assert [(u.audio, u.text) for u in read_utterances(path)] == [("a.wav", 'he said "a\tb"')]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiters_of_spreadsheets(delimiter: str, tmp_path: Path) -> None:
    rows = [["audio", "text"], ["a.wav", f'"one{delimiter} two"'], ["", ""]]
    path = table(tmp_path / "t.csv", "\n".join(delimiter.join(row) for row in rows))
    assert texts(path) == [f"one{delimiter} two"]


def test_cells_over_several_lines(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", 'audio,text\na.wav,"one\ntwo"\nb.wav,three\n')
    assert list(read_rows(path)) == [
        (2, {"audio": "a.wav", "text": "one\ntwo"}),
        (4, {"audio": "b.wav", "text": "three"}),
    ]
    stray = table(
        tmp_path / "stray.csv", 'audio,text\na.wav,"one\nb.wav,two\nc.wav,three"\nd.wav,four\n'
    )
    with pytest.raises(RecordError, match=r"stray.csv, line 2: a quotation mark .* in line 4"):
        texts(stray)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "audio,text\na.wav,hello, big world\n", "line 2: 3 cells, .* has 2 .*quotation"),
        ("a.csv", "audio,text\na.wav,a\nb.wav\n", "line 3: 1 cells, .* has 2 .*empty cells"),
        ("a.csv", 'audio,text\na.wav,"hello\n', "line 2: unexpected end of data; a cell"),
        ("a.csv", 'audio,text\na.wav,"he"llo\n', "line 2: .*must be doubled"),
        ("a.csv", "audio,text,\na.wav,hello, world\n", "line 2: the cell ' world' is in column 3"),
        ("a.csv", "audio,text,text\na.wav,a,b\n", "line 1: two columns are called text"),
        ("a.csv", "audio,text\na.wav,a\naudio,text\n", "line 3: the header a second time"),
        ("a.csv", "a.wav,hello\nb.wav,world\n", "line 2: no audio: .*has a.wav, hello"),
        ("a.tsv", "path\tsentence\na.wav\ta\tb\n", "line 2: 3 cells"),
        ("a.tsv", "path\tsentence\r\na.wav\ta\0b\r\n", "line 2: a NUL byte"),
        ("a.tsv", b"path\tsentence\na.wav\tcaf\xe9\n", "line 2: the byte 0xe9 in column 10 is not"),
        ("a.tsv", "path\tsentence\na\tb\n".encode("utf-16-le"), "line 1: a NUL byte.*UTF-16"),
        ("a.tsv", "path\tx\na\tb\nc\td\n".encode("utf-16")[:-1], "line 3: not UTF-16"),
        ("a.jsonl", '[\n {"audio": "a", "text": "b"}\n]', "line 1: .*one object per line, not"),
        ("a.jsonl", '{"audio": "a", "text": "b", "text": "c"}', "line 1: .*'text' occurs twice"),
        ("a.jsonl", '{"audio": "a", "text": NaN}', "line 1: no reference"),
        ("a.jsonl", '{"audio": "a", "text": 15}', "line 1: text is 15, not a string"),
        ("a.jsonl", '{"audio": "a", "text": "b", "x": Infinity}', "line 1: .*write null"),
        ("a.jsonl", '{"audio": "a", "text": "\\ud83d"}', "line 1: half of a surrogate pair"),
        ("a.jsonl", '{"a": ' + "[" * 100_000, "line 1: not JSON"),
        (
            "a.jsonl",
            '{"audio": "a", "text": "b", "offset": "1,5"}',
            "offset is '1,5', not a number",
        ),
        ("a.jsonl", '{"audio": "a", "text": "b", "offset": 1, "duration": 0}', "duration is 0"),
    ],
)
def test_what_cannot_be_read_is_refused_by_row(
    name: str, content: str | bytes, message: str, tmp_path: Path
) -> None:
    path = table(tmp_path / name, content)
    with pytest.raises(RecordError, match=rf"{name}, {message}" if "line" in message else message):
        texts(path)


def test_an_index_of_pandas_has_no_name(tmp_path: Path) -> None:
    assert texts(table(tmp_path / "t.csv", ",audio,text\n0,a.wav,hello\n")) == ["hello"]


def test_an_id_that_occurs_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", "audio,text\na.wav,one\nb.wav,two\na.wav,three\n")
    with pytest.raises(UsageError, match=r"line 4: the id a.wav occurs twice, first in line 2"):
        read_test_set(path)


def test_names_of_segments() -> None:
    assert segment_name("a/long.wav", 3.3, 3.485) == "a/long.wav#t=3.3,6.785"
    assert segment_name("long.wav", 0.0, None) == "long.wav#t=0"
    assert segment_name("long.wav", None, 1e-3) == "long.wav#t=,0.001"
    segment = parse_segment("s.parquet#7#t=1,2.5")
    assert segment is not None
    assert (segment.recording, segment.start_s, segment.end_s) == ("s.parquet#7", 1.0, 2.5)
    assert recording_of("long.wav#t=1") == "long.wav"
    for name in ("a.wav", "a#t=b.wav", "s.parquet#7", "a.wav#t=1-2"):
        assert parse_segment(name) is None


@pytest.fixture
def ramp(tmp_path: Path) -> Path:
    """A folder with `ramp.wav`, 3 s long, whose samples rise."""
    samples = np.linspace(-0.9, 0.9, 3 * SAMPLE_RATE, dtype=np.float32)
    write(tmp_path / "ramp.wav", Waveform(samples, SAMPLE_RATE))
    return tmp_path


def test_segments_are_parts_of_the_recording(ramp: Path) -> None:
    samples = read(ramp / "ramp.wav").samples
    assert np.array_equal(read_clip(ramp, "ramp.wav#t=0.5,1.25").samples, samples[8_000:20_000])
    assert np.array_equal(read_clip(ramp, "ramp.wav#t=2.5").samples, samples[40_000:])
    assert np.array_equal(read_clip(ramp, "ramp.wav#t=,2").samples, samples[:32_000])
    # Lengths are rounded; what a rounded length would cut off is read.
    assert read_clip(ramp, "ramp.wav#t=,2.6").samples.size == samples.size
    assert read_clip(ramp, "ramp.wav#t=2,3.4").samples.size == SAMPLE_RATE
    assert np.array_equal(read(clip_bytes(ramp, "ramp.wav#t=1,2")).samples, samples[16_000:32_000])
    assert exists(ramp, "ramp.wav#t=1,2")
    for beyond in ("ramp.wav#t=3,4", "ramp.wav#t=2,3.6", "ramp.wav#t=9"):
        with pytest.raises(AudioError, match=r"recording, which is 3\.00 s long"):
            read_clip(ramp, beyond)
    with pytest.raises(AudioError, match="no such file"):
        read_clip(ramp, "gone.wav#t=1,2")


def test_a_recording_that_changed_is_read_again(ramp: Path) -> None:
    first = read_clip(ramp, "ramp.wav#t=1,2")
    write(ramp / "ramp.wav", Waveform(np.zeros(40_000, np.float32), SAMPLE_RATE))
    assert read_clip(ramp, "ramp.wav#t=1,2").samples.any() != first.samples.any()


NEMO = (
    '{"audio_filepath": "ramp.wav", "offset": 0.0, "duration": 1.0, "text": "one"}\n'
    '{"audio_filepath": "ramp.wav", "offset": 1.5, "duration": 1.25, "text": "two"}\n'
    '{"audio_filepath": "ramp.wav", "offset": 2.75, "text": "three"}\n'
)


def test_segments_of_a_nemo_manifest_have_names_of_their_own(ramp: Path) -> None:
    path = table(ramp / "nemo.jsonl", NEMO)
    names = ["ramp.wav#t=0,1", "ramp.wav#t=1.5,2.75", "ramp.wav#t=2.75"]
    assert [clip.id for clip in read_test_set(path).clips] == names
    utterances = list(read_utterances(path))
    assert [utterance.audio for utterance in utterances] == names
    assert [read_clip(ramp, u.audio).samples.size for u in utterances] == [16_000, 20_000, 4_000]
    # Written as a manifest and read again, they stay the same segments.
    write_manifest(ramp / "again.jsonl", utterances)
    assert [u.audio for u in read_manifest(ramp / "again.jsonl")] == names
    assert [u.audio for u in read_utterances(ramp / "again.jsonl")] == names
    csv = table(ramp / "n.csv", "audio,offset,duration,text\nramp.wav,1.5,1.25,two\n")
    assert read_test_set(csv).clips[0].audio == names[1]


def test_a_manifest_may_have_segments_too() -> None:
    record = {"id": "x", "audio": "a.wav", "text": "t", "offset": 2, "duration": 3, "speaker": "s"}
    utterance = Utterance.from_dict(record)
    assert utterance.audio == "a.wav#t=2,5"
    assert Utterance.from_dict(utterance.to_dict()) == utterance
