"""Phrases that go round and round, as stuck decoders write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LEAST_REPEATS = ((1, 5), (3, 4))
"""(period, repeats): up to this many tokens a phrase must come so often to be a cycle."""
LEAST_REPEATS_OF_LONG = 3
_LETTERS_PERIOD, _LETTERS_REPEATS = 4, 8


@dataclass(frozen=True, slots=True)
class Cycle:
    """A phrase that is repeated without a break.

    Attributes:
        start: index of its first token.
        period: tokens in the phrase.
        repeats: how often it stands there; the last time perhaps cut off, which is not counted.
    """

    start: int
    period: int
    repeats: int

    @property
    def length(self) -> int:
        """Tokens in all whole repeats."""
        return self.period * self.repeats

    def phrase(self, tokens: Sequence[str]) -> tuple[str, ...]:
        """Return the tokens of the phrase."""
        return tuple(tokens[self.start : self.start + self.period])


def find_cycle(tokens: Sequence[str]) -> Cycle | None:
    """Return the longest cycle of a text, or None if nothing is repeated unduly often.

    A single token counts from 5 in a row ("no no no" is speech), a phrase of 2 or 3 tokens from 4,
    a longer one from 3. Of cycles equally long the one with the shortest phrase is returned.
    """
    if len(set(tokens)) == len(tokens):  # most texts; nothing can go round
        return None
    best: Cycle | None = None
    for period in range(1, len(tokens) // LEAST_REPEATS_OF_LONG + 1):
        needed = _needed(period)
        for start, matched in _runs(tokens, period):
            repeats = matched // period + 1
            if repeats >= needed and (best is None or repeats * period > best.length):
                best = Cycle(start, period, repeats)
    return best


def find_letter_cycle(token: str) -> Cycle | None:
    """Return a cycle inside one word ("hahahahahahahaha"): up to 4 letters, 8 times or more."""
    if len(token) < _LETTERS_REPEATS:
        return None
    for period in range(1, _LETTERS_PERIOD + 1):
        for start, matched in _runs(token, period):
            repeats = matched // period + 1
            if repeats >= _LETTERS_REPEATS:
                return Cycle(start, period, repeats)
    return None


def repeats_of(phrase: Sequence[str], tokens: Sequence[str]) -> int:
    """Return how often a phrase stands in a row in a text, at most."""
    most, size, wanted = 0, len(phrase), tuple(phrase)
    for start in range(len(tokens) - size + 1):
        count, at = 0, start
        while tuple(tokens[at : at + size]) == wanted:
            count, at = count + 1, at + size
        most = max(most, count)
    return most


def _needed(period: int) -> int:
    return next((n for most, n in LEAST_REPEATS if period <= most), LEAST_REPEATS_OF_LONG)


def _runs(tokens: Sequence[str], period: int) -> list[tuple[int, int]]:
    """Return (start, length) of the stretches in which a token equals the one a period later."""
    found: list[tuple[int, int]] = []
    start = None
    for at in range(len(tokens) - period):
        if tokens[at] == tokens[at + period]:
            start = at if start is None else start
        elif start is not None:
            found.append((start, at - start))
            start = None
    if start is not None:
        found.append((start, len(tokens) - period - start))
    return found
