"""Manifests in and out, and the shape of the transcripts that users' programs read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from megaasr.errors import RecordError, UsageError
from megaasr.records import (
    Segment,
    Transcript,
    Utterance,
    Word,
    read_manifest,
    write_manifest,
)
from megaasr.records.segments import WordTimes
from megaasr.records.tables import read_utterances

UTTERANCES = [
    Utterance("a-1", "audio/a 1.flac", "Zwölf Boxkämpfer, 你好 \U0001f600!", "de"),
    Utterance("a-2", "b.flac", "", None, {"duration_s": 1.5, "source": "nonspeech"}),
    Utterance(
        "a-3",
        "c.flac",
        # Separators that str.splitlines() would split at, but JSON Lines does not.
        'two\u2028lines, "quoted" \\ and\ttab,\x85 next\nline',
        "en",
        {"voice": {"pitch": 0.9, "tags": ["x", None]}, "held_out_voice": False, "ключ": "да"},
    ),
]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write_manifest(path, iter(UTTERANCES))
    assert list(read_manifest(path)) == UTTERANCES
    assert list(read_manifest(str(path))) == UTTERANCES
    raw = path.read_bytes()
    assert raw.count(b"\n") == len(UTTERANCES)
    assert raw.endswith(b"\n")
    assert "你好".encode() in raw  # readable, not escaped


def test_unknown_columns_survive_in_their_order(tmp_path: Path) -> None:
    line = (
        '{"id": "x", "audio": "x.wav", "text": "t", "language": null, "zeta": 1, "alpha": [2, {}]}'
    )
    path, copy = tmp_path / "m.jsonl", tmp_path / "copy.jsonl"
    path.write_text(line + "\n")
    (utterance,) = read_manifest(path)
    assert utterance.extra == {"zeta": 1, "alpha": [2, {}]}
    write_manifest(copy, [utterance])
    assert copy.read_text() == line + "\n"


def test_blank_lines_windows_lines_and_a_missing_last_newline_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(
        b'\r\n{"id": "1", "audio": "1.wav", "text": ""}\r\n   \n{"id":"2","audio":"2","text":"b"}'
    )
    assert [(u.id, u.language) for u in read_manifest(path)] == [("1", None), ("2", None)]
    path.write_bytes(b"")
    assert list(read_manifest(path)) == []


GOOD = b'{"id": "1", "audio": "1.wav", "text": "one"}\n'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": "2", "audio": "2.wav"}', "'text' is missing"),
        (b'{"id": 2, "audio": "2.wav", "text": "x"}', "'id' is missing or not a string"),
        (b'{"id": "2", "audio": null, "text": "x"}', "'audio' is missing or not a string"),
        (b'["id", "2"]', "not a JSON object"),
        (b'{"id": "2", "audio": ', "Expecting value"),
        (b"id,audio,text", "Expecting value"),
        (b'{"id": "2", "audio": "2.wav", "text": "caf\xe9"}', "0xe9 in column 43 is not UTF-8"),
    ],
)
def test_a_broken_line_is_named_with_its_file(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_bytes(GOOD + b"\n" + line + b"\n" + GOOD)
    read = read_manifest(path)
    assert next(read).text == "one"
    with pytest.raises(RecordError, match=message) as caught:
        list(read)
    assert str(caught.value).startswith(f"{path}, line 3: ")


def test_a_failed_write_leaves_the_old_manifest(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write_manifest(path, UTTERANCES)
    before = path.read_bytes()

    def failing() -> Iterator[Utterance]:
        yield UTTERANCES[0]
        assert path.read_bytes() == before  # nothing is replaced before the end
        raise OSError("the source broke")

    with pytest.raises(OSError, match="the source broke"):
        write_manifest(path, failing())
    assert path.read_bytes() == before
    write_manifest(path, UTTERANCES[:1])
    assert list(read_manifest(path)) == UTTERANCES[:1]
    assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]


def test_a_manifest_may_be_rewritten_from_itself(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write_manifest(path, UTTERANCES)
    write_manifest(path, (u for u in read_manifest(path) if u.text))
    assert [u.id for u in read_manifest(path)] == ["a-1", "a-3"]


TRANSCRIPT = Transcript(
    text="Hello. Да.",
    language="en",
    duration_s=61.25,
    model="tiny",
    segments=(
        Segment(0.0, 30.0, "Hello.", "en"),
        Segment(30.0, 60.0, "Да.", "ru", ("token_budget_hit", "other")),
        Segment(60.0, 61.25, "", None, ("no_speech", "token_budget_hit")),
    ),
)


_UNKNOWN = {
    "route_reason": None,
    "confidence": None,
    "mean_logprob": None,
    "words": [],
    "checks": [],
    "attempts": [],
    "chunk_start": None,
    "chunk_end": None,
    "speech_probability": None,
    "word_times": None,
    "alternatives": [],
    "word_alternatives": [],
    "unintelligible": [],
}


def test_the_document_of_a_transcript_is_stable() -> None:
    golden = {
        "schema": 2,
        "audio": "talk.wav",
        "channel": None,
        "text": "Hello. Да.",
        "language": "en",
        "duration_s": 61.25,
        "model": "tiny",
        "reason": None,
        "notes": [],
        "word_times": "interpolated",
        "segments": [
            {
                "start": 0.0,
                "end": 30.0,
                "text": "Hello.",
                "language": "en",
                "flags": [],
                "route": None,
                "degraded_probability": None,
                **_UNKNOWN,
            },
            {
                "start": 30.0,
                "end": 60.0,
                "text": "Да.",
                "language": "ru",
                "flags": ["token_budget_hit", "other"],
                "route": None,
                "degraded_probability": None,
                **_UNKNOWN,
            },
            {
                "start": 60.0,
                "end": 61.25,
                "text": "",
                "language": None,
                "flags": ["no_speech", "token_budget_hit"],
                "route": None,
                "degraded_probability": None,
                **_UNKNOWN,
            },
        ],
    }
    document = TRANSCRIPT.with_audio("talk.wav").to_dict()
    assert document == golden
    assert list(document) == list(golden)
    assert [list(s) for s in document["segments"]] == [list(s) for s in golden["segments"]]
    assert json.loads(json.dumps(document)) == golden


def test_an_empty_transcript_says_why() -> None:
    empty = Transcript("", None, 2.0, "tiny", reason="no speech was detected")
    assert empty.to_dict() == {
        "schema": 2,
        "audio": None,
        "channel": None,
        "text": "",
        "language": None,
        "duration_s": 2.0,
        "model": "tiny",
        "reason": "no speech was detected",
        "notes": [],
        "word_times": "interpolated",
        "segments": [],
    }


@pytest.mark.parametrize(
    ("kinds", "stated"),
    [
        ((), "interpolated"),
        (("attention", "attention"), "attention"),
        (("interpolated",), "interpolated"),
        (("attention", "interpolated"), "mixed"),
        ((None, "attention"), "mixed"),
    ],
)
def test_a_transcript_states_where_its_word_times_are_from(
    kinds: tuple[WordTimes | None, ...], stated: str
) -> None:
    word = (Word("a", 0.0, 1.0),)
    segments = [Segment(0.0, 1.0, "a", words=word, word_times=kind) for kind in kinds]
    segments.append(Segment(1.0, 2.0, ""))  # without words it says nothing
    transcript = Transcript("a", "en", 2.0, "tiny", tuple(segments))
    assert transcript.to_dict()["word_times"] == stated


def test_flags_are_listed_once_in_order_of_appearance() -> None:
    assert TRANSCRIPT.flags == ("token_budget_hit", "other", "no_speech")
    assert TRANSCRIPT.audio is None  # with_audio returns a copy


def test_a_transcript_is_saved_in_the_format_of_the_suffix(tmp_path: Path) -> None:
    assert TRANSCRIPT.save(tmp_path / "a.srt").read_text(encoding="utf-8") == TRANSCRIPT.to_srt()
    assert TRANSCRIPT.save(str(tmp_path / "a.VTT")).read_text("utf-8") == TRANSCRIPT.to_vtt()
    assert json.loads(TRANSCRIPT.save(tmp_path / "a.json").read_text()) == TRANSCRIPT.to_dict()
    with pytest.raises(UsageError, match=r"unknown output format 'docx'; choose one of txt, srt"):
        TRANSCRIPT.save(tmp_path / "a.docx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.VTT", "a.json", "a.srt"]


def test_the_repr_of_a_transcript_is_one_short_line() -> None:
    long = replace(TRANSCRIPT, text="word " * 200)
    assert "\n" not in repr(long)
    assert len(repr(long)) < 200
    assert "…" in repr(long)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "audio,text,duration_s\nx.wav,hello there,1.5\n"),
        ("a.tsv", "path\tsentence\tduration\nx.wav\thello there\t1.5\n"),
        ("a.jsonl", '{"audio_filepath": "x.wav", "text": "hello there", "duration": 1.5}\n'),
    ],
)
def test_tables_of_other_tools_are_utterances(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    (utterance,) = read_utterances(tmp_path / name)
    # The length of a NeMo manifest is the length that is read.
    audio = "x.wav#t=,1.5" if name == "a.jsonl" else "x.wav"
    assert (utterance.id, utterance.audio, utterance.text) == ("x.wav", audio, "hello there")
    assert utterance.extra["duration_s"] == 1.5


def test_a_manifest_is_read_alike_by_both_readers(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.jsonl", UTTERANCES)
    assert list(read_utterances(tmp_path / "m.jsonl")) == UTTERANCES


def test_a_row_without_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("audio,words\nx.wav,hello\n")
    with pytest.raises(RecordError, match=r"line 2: no reference.*record has audio, words"):
        list(read_utterances(tmp_path / "a.csv"))
