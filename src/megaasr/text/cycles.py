"""Repetition loops: phrases that a stuck decoder writes over and over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MIN_REPEATS = ((1, 5), (3, 4))
"""Pairs (period, repeats): a phrase of at most `period` tokens is a cycle if it occurs at least
`repeats` times in a row."""
MIN_REPEATS_LONG_PHRASE = 3
"""Repeats from which a phrase longer than those in `MIN_REPEATS` is a cycle."""
_MAX_LETTER_PERIOD, _MIN_LETTER_REPEATS = 4, 8


@dataclass(frozen=True, slots=True)
class Cycle:
    """A phrase that is repeated without a break.

    Attributes:
        start: index of the phrase's first token.
        period: tokens in the phrase.
        repeats: complete repeats in a row; an incomplete one at the end is not counted.
    """

    start: int
    period: int
    repeats: int

    @property
    def length(self) -> int:
        """Tokens in all complete repeats."""
        return self.period * self.repeats

    def phrase(self, tokens: Sequence[str]) -> tuple[str, ...]:
        """Return the tokens of the phrase, given the text in which the cycle was found."""
        return tuple(tokens[self.start : self.start + self.period])


def find_cycle(tokens: Sequence[str]) -> Cycle | None:
    """Return the longest cycle of a text, or None if no phrase is repeated unduly often.

    A single token counts from 5 in a row ("no no no" is speech), a phrase of 2 or 3 tokens from 4,
    a longer one from 3. Among cycles of equal length, the one with the shortest phrase is returned.
    """
    if len(set(tokens)) == len(tokens):  # true for most texts: all tokens differ, so no cycle
        return None
    longest: Cycle | None = None
    for period in range(1, len(tokens) // MIN_REPEATS_LONG_PHRASE + 1):
        required = _required_repeats(period)
        for start, matches in _matching_runs(tokens, period):
            repeats = matches // period + 1
            if repeats >= required and (longest is None or repeats * period > longest.length):
                longest = Cycle(start, period, repeats)
    return longest


def find_letter_cycle(token: str) -> Cycle | None:
    """Return a cycle within one word ("hahahahahahahaha"): up to 4 letters, 8 times or more."""
    if len(token) < _MIN_LETTER_REPEATS:
        return None
    for period in range(1, _MAX_LETTER_PERIOD + 1):
        for start, matches in _matching_runs(token, period):
            repeats = matches // period + 1
            if repeats >= _MIN_LETTER_REPEATS:
                return Cycle(start, period, repeats)
    return None


def count_repeats(phrase: Sequence[str], tokens: Sequence[str]) -> int:
    """Return the largest number of times that a phrase occurs in a row in a text."""
    most, size, pattern = 0, len(phrase), tuple(phrase)
    for start in range(len(tokens) - size + 1):
        count, position = 0, start
        while tuple(tokens[position : position + size]) == pattern:
            count, position = count + 1, position + size
        most = max(most, count)
    return most


def _required_repeats(period: int) -> int:
    return next(
        (repeats for longest, repeats in MIN_REPEATS if period <= longest), MIN_REPEATS_LONG_PHRASE
    )


def _matching_runs(tokens: Sequence[str], period: int) -> list[tuple[int, int]]:
    """Return (start, length) of every run of tokens that equal the token one period later."""
    runs: list[tuple[int, int]] = []
    start = None
    for index in range(len(tokens) - period):
        if tokens[index] == tokens[index + period]:
            start = index if start is None else start
        elif start is not None:
            runs.append((start, index - start))
            start = None
    if start is not None:
        runs.append((start, len(tokens) - period - start))
    return runs
