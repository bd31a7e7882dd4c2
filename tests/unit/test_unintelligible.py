"""Spans of words that cannot be trusted: which are found, and how they are displayed."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from megaasr.errors import UsageError
from megaasr.records import Segment, Transcript, Word
from megaasr.records.marking import MARK, mark_segments
from megaasr.transcribe.options import ReliabilityOptions
from megaasr.transcribe.outputs import AudioInput, OutputFolder
from megaasr.transcribe.unintelligible import find_unintelligible


def words(text: str, *confidences: float | None) -> tuple[Word, ...]:
    return tuple(
        Word(word, float(i), i + 0.5, confidence)
        for i, (word, confidence) in enumerate(zip(text.split(), confidences, strict=True))
    )


def bounds(confidences: list[float | None], below: float = 0.5) -> list[tuple[int, int]]:
    text = " ".join("w" * len(confidences))
    spans = find_unintelligible(words(text, *confidences), below)
    return [(span.first_word, span.last_word) for span in spans]


@pytest.mark.parametrize(
    ("confidences", "expected"),
    [
        ([], []),
        ([0.9, 0.8], []),
        ([0.1], [(0, 0)]),
        ([0.9, 0.1, 0.2, 0.9], [(1, 2)]),
        ([0.9, 0.3, 0.9], []),  # a single word that may be right
        ([0.9, 0.05, 0.9], [(1, 1)]),  # a single word that is not
        ([0.1, 0.55, 0.1], [(0, 2)]),  # nobody reads one word amid guesses
        ([0.2, 0.2, 0.9, 0.9, 0.1], [(0, 1), (4, 4)]),
        ([0.4, 0.4, 0.4], [(0, 2)]),
        ([0.0] * 9 + [0.95, 0.5], [(0, 10)]),  # so few right ones that these are chance
        ([0.0] * 9 + [0.95, 0.9], [(0, 8)]),
        ([0.1, None, 0.1, 0.9], [(0, 2)]),
        ([None, None], []),
    ],
)
def test_spans(confidences: list[float | None], expected: list[tuple[int, int]]) -> None:
    assert bounds(confidences) == expected


def test_the_limit_decides() -> None:
    assert bounds([0.6, 0.6], below=0.7) == [(0, 1)]
    assert bounds([0.0, 0.0], below=0.0) == []
    assert bounds([0.99, 0.99], below=1.0) == [(0, 1)]
    for value in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="unintelligible_below"):
            ReliabilityOptions(unintelligible_below=value)


def test_no_word_is_intelligible_where_nobody_speaks() -> None:
    spoken = words("she is sick", 0.9, 0.9, 0.9)
    (span,) = find_unintelligible(spoken, 0.5, is_speech_detected=False)
    assert (span.first_word, span.last_word) == (0, 2)
    assert find_unintelligible(spoken, 0.0, is_speech_detected=False) == ()
    assert find_unintelligible((), 0.5, is_speech_detected=False) == ()


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.2, 0.4, 0.45, 0.6, 0.8, 1.0]), max_size=8))
def test_the_spans_are_the_best_of_all(confidences: list[float]) -> None:
    def total(marks: tuple[bool, ...]) -> float:
        gain = sum(0.5 - c for c, mark in zip(confidences, marks, strict=True) if mark)
        return gain - 0.15 * sum(a != b for a, b in itertools.pairwise(marks))

    best = max(total(m) for m in itertools.product([False, True], repeat=len(confidences)))
    marks = [False] * len(confidences)
    for first, last in bounds([*confidences]):
        marks[first : last + 1] = [True] * (last + 1 - first)
    mean = sum(confidences) / max(1, len(confidences))
    assume(mean != pytest.approx(0.15))
    if confidences and mean < 0.15:
        assert all(marks)
        return
    assert total(tuple(marks)) == pytest.approx(best)


def segment(text: str, *confidences: float | None, language: str = "en") -> Segment:
    spoken = words(text, *confidences)
    spans = find_unintelligible(spoken, 0.5)
    return Segment(0.0, 9.0, text, language, words=spoken, unintelligible=spans)


HARD = segment("Meet me at glub frotz at noon.", 0.9, 0.9, 0.8, 0.1, 0.2, 0.8, 0.9)


def test_a_span_says_what_was_guessed_and_when() -> None:
    (span,) = HARD.unintelligible
    assert (span.text, span.start, span.end, span.confidence) == ("glub frotz", 3.0, 4.5, 0.15)


@pytest.mark.parametrize(
    ("marking", "text"),
    [
        ("keep", "Meet me at glub frotz at noon."),
        ("mark", f"Meet me at {MARK} at noon."),
        ("drop", "Meet me at at noon."),
    ],
)
def test_text_as_it_is_displayed(marking: str, text: str) -> None:
    (shown,) = mark_segments([HARD], marking)  # type: ignore[arg-type]
    assert shown.text == text
    kept = [word.text for word in shown.words if word.text != MARK]
    assert kept == text.replace(MARK, "").split()
    marks = [word for word in shown.words if word.text == MARK]
    assert [(word.start, word.end) for word in marks] == ([(3.0, 4.5)] if marking == "mark" else [])


def test_whole_and_partial_texts() -> None:
    hopeless = segment("blah blah", 0.1, 0.1)
    assert mark_segments([hopeless], "mark")[0].text == MARK
    assert mark_segments([hopeless], "drop")[0].text == ""
    chinese = Segment(0.0, 4.0, "早上好吗", "zh", words=words("早 上 好 吗", 0.9, 0.9, 0.1, 0.1))
    spans = find_unintelligible(chinese.words, 0.5)
    chinese = Segment(0.0, 4.0, "早上好吗", "zh", words=chinese.words, unintelligible=spans)
    assert mark_segments([chinese], "mark")[0].text == f"早上 {MARK}"


@pytest.mark.parametrize("marking", ["mark", "drop"])
def test_marking_twice_is_marking_once(marking: str) -> None:
    transcript = Transcript(HARD.text, "en", 9.0, "tiny", (HARD,))
    marked = transcript.marked(marking)  # type: ignore[arg-type]
    assert marked.marked(marking) == marked  # type: ignore[arg-type]


def test_a_transcript_without_words_says_why() -> None:
    hopeless = segment("blah blah", 0.1, 0.1)
    transcript = Transcript(hopeless.text, "en", 9.0, "tiny", (hopeless,))
    assert transcript.marked("drop").reason == "no words can be made out"
    assert transcript.marked("mark").reason is None


def test_a_span_of_chinese_words_has_no_spaces() -> None:
    (span,) = find_unintelligible(words("今 天 好", 0.1, 0.1, 0.1), 0.5, "zh")
    assert span.text == "今天好"


def test_a_transcript_is_marked_in_every_format_but_json(tmp_path: Path) -> None:
    transcript = Transcript(HARD.text, "en", 9.0, "tiny", (HARD,), audio="a.wav")
    (tmp_path / "a.wav").touch()
    folder = OutputFolder(tmp_path / "o", ["txt", "srt", "json"], {}, marking="mark")
    recording = AudioInput(str(tmp_path / "a.wav"))
    folder.assign_names([recording])
    txt, srt, document = folder.write(recording, [transcript])
    assert txt.read_text() == f"Meet me at {MARK} at noon.\n"
    assert MARK in srt.read_text()
    written = json.loads(document.read_text())
    assert written["segments"][0]["text"] == HARD.text
    assert written["segments"][0]["unintelligible"] == [
        {
            "start": 3.0,
            "end": 4.5,
            "text": "glub frotz",
            "confidence": 0.15,
            "first_word": 3,
            "last_word": 4,
        }
    ]
    assert transcript.marked("keep") is transcript
