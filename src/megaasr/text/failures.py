"""The failures that matter beyond an error rate, each with its measured value and its threshold.

- `empty`: nothing was recognised where somebody speaks. Value: tokens of the reference.
- `hallucination`: words out of nowhere. A run of insertions (value: its length), or a text that has
  almost nothing in common with the reference (share of hits), or any word where nobody speaks
  (tokens).
- `omission`: a run of deletions, so that a sentence or more is missing. Value: its length.
- `repetition`: a phrase, or letters inside a word, that goes round and round, more often than in
  the reference. Value: repeats.
- `truncated`: the token budget ended the text. Value: 1.

Pure functions; the guard of transcription, the reward of training and the scorer use the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rapidfuzz.distance import Levenshtein

from megaasr.text.cycles import find_cycle, find_letter_cycle, repeats_of
from megaasr.text.error_rate import count_token_errors, token_pair
from megaasr.text.languages import unit
from megaasr.text.normalize import scored_language


class Kind(StrEnum):
    """What can go wrong."""

    EMPTY = "empty"
    HALLUCINATION = "hallucination"
    OMISSION = "omission"
    REPETITION = "repetition"
    TRUNCATED = "truncated"


@dataclass(frozen=True, slots=True)
class FailureThresholds:
    """From when on something counts as a failure.

    Attributes:
        run_words, run_characters: insertions or deletions in a row, by the unit of the language.
        common_share: a text is made up if at most this share of its tokens are hits ...
        common_least: ... and it has and should have at least so many tokens.
    """

    run_words: int = 5
    run_characters: int = 8
    common_share: float = 0.1
    common_least: int = 4


DEFAULT_THRESHOLDS = FailureThresholds()


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure.

    Attributes:
        kind: what went wrong.
        value: what was measured, see the list of this module.
        threshold: what it was compared with.
    """

    kind: Kind
    value: float
    threshold: float


def find_failures(
    reference: str,
    hypothesis: str,
    *,
    language: str | None = None,
    normalizer: str = "bench",
    truncated: bool = False,
    thresholds: FailureThresholds = DEFAULT_THRESHOLDS,
) -> tuple[Failure, ...]:
    """Return the failures of a text, each kind once, in the order of the list.

    Args:
        reference: what was said; empty if nobody speaks.
        hypothesis: what was recognised.
        language: ISO code; None is read off the reference.
        normalizer: see `megaasr.text.normalize`.
        truncated: the token budget ended the text.
        thresholds: from when on something counts.

    Raises:
        UsageError: there is no such normaliser.
    """
    said, heard = token_pair(reference, hypothesis, language, normalizer)
    by_words = unit(scored_language(language, reference, normalizer)) == "word"
    longest = thresholds.run_words if by_words else thresholds.run_characters
    found: list[Failure] = []
    if said and not heard:
        found.append(Failure(Kind.EMPTY, len(said), 0))
    elif heard and not said:
        found.append(Failure(Kind.HALLUCINATION, len(heard), 0))
    elif said != heard:
        found += _compare(said, heard, longest, thresholds)
    found += _repetition(said, heard)
    if truncated:
        found.append(Failure(Kind.TRUNCATED, 1, 0))
    return tuple(found)


def _compare(
    said: Sequence[str], heard: Sequence[str], longest: int, thresholds: FailureThresholds
) -> Iterable[Failure]:
    inserted = deleted = 0
    for block in Levenshtein.opcodes(said, heard):
        if block.tag == "insert":
            inserted = max(inserted, block.dest_end - block.dest_start)
        elif block.tag == "delete":
            deleted = max(deleted, block.src_end - block.src_start)
    share = count_token_errors(said, heard).hits / len(heard)
    if inserted >= longest:
        yield Failure(Kind.HALLUCINATION, inserted, longest)
    elif share <= thresholds.common_share and min(len(said), len(heard)) >= thresholds.common_least:
        yield Failure(Kind.HALLUCINATION, share, thresholds.common_share)
    if deleted >= longest:
        yield Failure(Kind.OMISSION, deleted, longest)


def _repetition(said: Sequence[str], heard: Sequence[str]) -> Iterable[Failure]:
    cycle = find_cycle(heard)
    if cycle is not None:
        spoken = repeats_of(cycle.phrase(heard), said)
        if cycle.repeats > spoken + 1:  # one more or less is a slip, not a loop
            yield Failure(Kind.REPETITION, cycle.repeats, spoken + 1)
        return
    for token in set(heard) - set(said):
        inside = find_letter_cycle(token)
        if inside is not None:
            yield Failure(Kind.REPETITION, inside.repeats, 0)
            return
