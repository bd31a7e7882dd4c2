"""Which words of a text are more probably wrong than right."""

from __future__ import annotations

from collections.abc import Sequence

from megaasr.records import Word
from megaasr.records.segments import UnintelligibleSpan
from megaasr.text.languages import join_texts

_SWITCH_COST = 0.15
"""What a change between intelligible and unintelligible costs, in expected words: single words are
marked only if they are almost certainly wrong, since a mark amid words is harder to read."""

_SEGMENT_SHARE = 0.3
"""Share of the limit that a segment's mean confidence must reach: of words that are nearly all
wrong, as in the babble of a crowd, some look certain by chance."""


def find_unintelligible(
    words: Sequence[Word],
    below: float,
    language: str | None = None,
    *,
    is_speech_detected: bool = True,
) -> tuple[UnintelligibleSpan, ...]:
    """Return the spans of words that should not be trusted, in order.

    A span gains what its words' confidence is below the limit, and costs `_SWITCH_COST` at each
    end within the text. The spans with the highest total are found by dynamic programming. No word
    of a segment with a mean confidence below `_SEGMENT_SHARE` of the limit is intelligible, and
    none where nobody was detected to speak.

    Args:
        words: words of a segment; one without confidence gains and costs nothing.
        below: confidence, 0..1, from which on a word is intelligible; 0 finds nothing.
        language: ISO code, which decides how words are joined.
        is_speech_detected: whether voice-activity detection found speech in the segment, or did not
            look for it.
    """
    gains = [0.0 if word.confidence is None else below - word.confidence for word in words]
    shown, hidden = 0.0, 0.0
    from_hidden: list[tuple[bool, bool]] = []  # whether the best way to (shown, hidden) was hidden
    for gain in gains:
        is_hidden_before = (hidden - _SWITCH_COST > shown, hidden >= shown - _SWITCH_COST)
        shown, hidden = (
            max(shown, hidden - _SWITCH_COST),
            max(hidden, shown - _SWITCH_COST) + gain,
        )
        from_hidden.append(is_hidden_before)
    is_hidden = hidden > shown
    marks = [False] * len(words)
    for index in range(len(words) - 1, -1, -1):
        marks[index] = is_hidden
        is_hidden = from_hidden[index][is_hidden]
    confidences = [word.confidence for word in words if word.confidence is not None]
    is_chance = bool(confidences) and (sum(confidences) < _SEGMENT_SHARE * below * len(confidences))
    if is_chance or (below > 0 and not is_speech_detected):
        marks = [True] * len(words)
    spans = []
    first = 0
    for index, mark in enumerate([*marks, False]):
        if mark and (index == 0 or not marks[index - 1]):
            first = index
        elif not mark and index and marks[index - 1]:
            spans.append(_span(words, first, index, language))
    return tuple(spans)


def _span(words: Sequence[Word], first: int, last: int, language: str | None) -> UnintelligibleSpan:
    part = words[first:last]
    confidences = [word.confidence for word in part if word.confidence is not None]
    return UnintelligibleSpan(
        start=part[0].start,
        end=part[-1].end,
        text=join_texts((word.text, language) for word in part),
        confidence=round(sum(confidences) / len(confidences), 4) if confidences else None,
        first_word=first,
        last_word=last - 1,
    )
