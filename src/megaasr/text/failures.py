"""Failures that an error rate does not show, each with its measured value and its threshold.

- `empty`: no word was recognised although somebody speaks. Value: tokens of the reference.
- `hallucination`: words that nobody said. A run of insertions (value: its length), a text that has
  almost nothing in common with the reference (value: share of hits), or any word where nobody
  speaks (value: tokens of the hypothesis).
- `omission`: a run of deletions, so that a sentence or more is missing. Value: its length.
- `repetition`: a phrase, or letters within a word, repeated more often than in the reference.
  Value: repeats.
- `truncated`: the token budget ended the text. Value: 1.

Pure functions, shared by the quality checks of transcription, the rewards of training and the
scorer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rapidfuzz.distance import Levenshtein

from megaasr.text.cycles import count_repeats, find_cycle, find_letter_cycle
from megaasr.text.error_rate import count_token_errors, token_pair
from megaasr.text.languages import unit
from megaasr.text.normalize import scored_language


class FailureKind(StrEnum):
    """The kinds of failure, described in this module's docstring."""

    EMPTY = "empty"
    HALLUCINATION = "hallucination"
    OMISSION = "omission"
    REPETITION = "repetition"
    TRUNCATED = "truncated"


@dataclass(frozen=True, slots=True)
class FailureThresholds:
    """Thresholds at which something counts as a failure.

    Attributes:
        run_words: insertions or deletions in a row, in languages scored by words.
        run_characters: insertions or deletions in a row, in languages scored by characters.
        common_share: largest share of hits, 0..1, at which a text counts as a hallucination.
        common_least: tokens that both reference and hypothesis need for `common_share` to apply.
    """

    run_words: int = 5
    run_characters: int = 8
    common_share: float = 0.1
    common_least: int = 4


DEFAULT_THRESHOLDS = FailureThresholds()


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure of a hypothesis.

    Attributes:
        kind: the kind of failure.
        value: the measured value, described in this module's docstring.
        threshold: the limit that the value was compared with.
    """

    kind: FailureKind
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
    """Return the failures of a hypothesis, in the order of this module's list.

    Args:
        reference: the correct transcript; empty if nobody speaks.
        hypothesis: the recognised text.
        language: ISO code; None to guess from the reference.
        normalizer: name of a normaliser, see `megaasr.text.normalize`.
        truncated: True if the token budget ended the text.
        thresholds: limits at which something counts as a failure.

    Raises:
        UsageError: there is no such normaliser.
    """
    reference_tokens, hypothesis_tokens = token_pair(reference, hypothesis, language, normalizer)
    by_words = unit(scored_language(language, reference, normalizer)) == "word"
    max_run = thresholds.run_words if by_words else thresholds.run_characters
    failures: list[Failure] = []
    if reference_tokens and not hypothesis_tokens:
        failures.append(Failure(FailureKind.EMPTY, len(reference_tokens), 0))
    elif hypothesis_tokens and not reference_tokens:
        failures.append(Failure(FailureKind.HALLUCINATION, len(hypothesis_tokens), 0))
    elif reference_tokens != hypothesis_tokens:
        failures += _find_alignment_failures(
            reference_tokens, hypothesis_tokens, max_run, thresholds
        )
    failures += _find_repetition(reference_tokens, hypothesis_tokens)
    if truncated:
        failures.append(Failure(FailureKind.TRUNCATED, 1, 0))
    return tuple(failures)


def _find_alignment_failures(
    reference: Sequence[str],
    hypothesis: Sequence[str],
    max_run: int,
    thresholds: FailureThresholds,
) -> Iterable[Failure]:
    """Yield hallucination and omission, as far as the alignment shows them."""
    inserted = deleted = 0
    for block in Levenshtein.opcodes(reference, hypothesis):
        if block.tag == "insert":
            inserted = max(inserted, block.dest_end - block.dest_start)
        elif block.tag == "delete":
            deleted = max(deleted, block.src_end - block.src_start)
    share = count_token_errors(reference, hypothesis).hits / len(hypothesis)
    shorter = min(len(reference), len(hypothesis))
    if inserted >= max_run:
        yield Failure(FailureKind.HALLUCINATION, inserted, max_run)
    elif share <= thresholds.common_share and shorter >= thresholds.common_least:
        yield Failure(FailureKind.HALLUCINATION, share, thresholds.common_share)
    if deleted >= max_run:
        yield Failure(FailureKind.OMISSION, deleted, max_run)


def _find_repetition(reference: Sequence[str], hypothesis: Sequence[str]) -> Iterable[Failure]:
    cycle = find_cycle(hypothesis)
    if cycle is not None:
        in_reference = count_repeats(cycle.phrase(hypothesis), reference)
        if cycle.repeats > in_reference + 1:  # one repeat too many is a slip, not a loop
            yield Failure(FailureKind.REPETITION, cycle.repeats, in_reference + 1)
        return
    for token in set(hypothesis) - set(reference):
        letter_cycle = find_letter_cycle(token)
        if letter_cycle is not None:
            yield Failure(FailureKind.REPETITION, letter_cycle.repeats, 0)
            return
