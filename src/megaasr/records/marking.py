"""Segments as they are displayed: what cannot be made out is kept, marked or left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from megaasr.records.segments import Segment, Word

Marking = Literal["keep", "mark", "drop"]
"""What is displayed in place of unintelligible words: themselves, `MARK`, or nothing."""
MARK = "[unintelligible]"


def mark_segments(segments: Sequence[Segment], marking: Marking) -> tuple[Segment, ...]:
    """Return segments with their unintelligible words as they are displayed.

    The times of the other words do not change, and a mark has those of the words that it stands
    for. The result has no unintelligible spans. A text that does not contain the words of its
    segment is kept.

    Args:
        segments: segments with their unintelligible spans.
        marking: what is displayed in place of these.
    """
    if marking == "keep":
        return tuple(segments)
    return tuple(_marked(segment, marking) for segment in segments)


def _marked(segment: Segment, marking: Marking) -> Segment:
    if not segment.unintelligible:
        return segment
    gaps = _texts_between(segment.text, segment.words)
    if gaps is None:
        return segment
    text, words, index = gaps[0], [], 0
    spans = {span.first_word: span for span in segment.unintelligible}
    while index < len(segment.words):
        span = spans.get(index)
        if span is None:
            word = segment.words[index]
            text += word.text + gaps[index + 1]
            words.append(word)
            index += 1
            continue
        if marking == "mark":
            words.append(Word(MARK, span.start, span.end, span.confidence))
            text = f"{text.rstrip()} {MARK}{gaps[span.last_word + 1] or ' '}"
        index = span.last_word + 1
    shown = " ".join(text.split())
    return replace(segment, text=shown, words=tuple(words), unintelligible=())


def _texts_between(text: str, words: Sequence[Word]) -> list[str] | None:
    """Return what is before, between and after the words in a text; None if they are not in it."""
    gaps, position = [], 0
    for word in words:
        start = text.find(word.text, position)
        if start < 0:
            return None
        gaps.append(text[position:start])
        position = start + len(word.text)
    return [*gaps, text[position:]]
