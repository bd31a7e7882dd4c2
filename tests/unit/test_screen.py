"""What the screen says of texts that may be wrong."""

from __future__ import annotations

import pytest

from megaasr.cli.screen import Screen, StdoutContent
from megaasr.records import Check, Segment, Transcript

LOOP = Segment(
    0.0,
    4.0,
    "no no no no",
    "en",
    ("repetition", "unreliable"),
    confidence=0.91,
    checks=(Check("repetition", 4.0, 2.0),),
)
DOUBTFUL = Segment(4.0, 8.0, "my aunt cellar", "en", confidence=0.34)
SURE = Segment(8.0, 12.0, "good morning", "en", confidence=0.97)


def shown(content: StdoutContent, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    segments = (LOOP, DOUBTFUL, SURE)
    with Screen(content, 1, bar=False) as screen:
        for segment in segments:
            screen.segment("a.wav", segment)
        screen.transcripts("a.wav", [Transcript("…", "en", 12.0, "tiny", segments)])
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_doubtful_texts_have_a_mark_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    lines, warnings = shown(StdoutContent.SEGMENTS, capsys)
    loop, doubtful, sure = lines.splitlines()
    assert loop.endswith("no no no no  [unreliable: repetition, confidence 0.91]")
    assert doubtful.endswith("my aunt cellar  [doubtful: confidence 0.34]")
    assert sure.endswith("good morning")
    assert "1 of 3 segments unreliable (repetition)" in warnings
    assert "1 of 3 segments doubtful (confidence below 0.5, the lowest 0.34)" in warnings


def test_plain_text_for_other_programs_has_no_marks(capsys: pytest.CaptureFixture[str]) -> None:
    text, warnings = shown(StdoutContent.TEXT, capsys)
    assert text.splitlines() == ["no no no no", "my aunt cellar", "good morning"]
    assert "doubtful" in warnings
