"""Errors between what was said and what was recognised: the one scorer of the project.

Languages with spaces are scored by words (WER), others by characters (CER); the normaliser makes
the tokens. An alignment has the fewest edits that are possible; where several have, it is the one
that rapidfuzz finds, for counts and alignment alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rapidfuzz.distance.Levenshtein import editops, opcodes

from megaasr.text.normalize import Tokens, scored_language, tokens


class ErrorCounts(NamedTuple):
    """Hits and errors of one or many texts; counts of several clips add up.

    A named tuple, because making a frozen data class takes as long as counting the errors.

    Attributes:
        hits, substitutions, deletions, insertions: in tokens (words or characters).
    """

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_length(self) -> int:
        """Tokens in the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Errors per reference token (0 is perfect; may exceed 1).

        An empty reference has rate 0 if the hypothesis is empty too, else 1 per inserted token.
        """
        return self.errors / max(1, self.reference_length)

    def __add__(self, other: ErrorCounts) -> ErrorCounts:  # type: ignore[override]
        return ErrorCounts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


@dataclass(frozen=True, slots=True)
class AlignedWord:
    """One step of an alignment.

    Attributes:
        kind: `hit`, `substitution`, `deletion` or `insertion`.
        reference, hypothesis: the tokens; None where there is none.
    """

    kind: str
    reference: str | None
    hypothesis: str | None


def count_errors(
    reference: str, hypothesis: str, *, language: str | None = None, normalizer: str = "bench"
) -> ErrorCounts:
    """Count the errors of one text.

    Args:
        reference: what was said; empty if nothing was.
        hypothesis: what was recognised.
        language: ISO code; None is read off the reference (`normalize.scored_language`).
        normalizer: see `megaasr.text.normalize`.

    Raises:
        UsageError: there is no such normaliser, or its library is not installed.
    """
    return count_token_errors(*token_pair(reference, hypothesis, language, normalizer))


def count_errors_of_pairs(
    references: Sequence[str],
    hypotheses: Sequence[str],
    *,
    languages: Sequence[str | None] | None = None,
    normalizer: str = "bench",
) -> list[ErrorCounts]:
    """Count the errors of many texts; arguments as for `count_errors`, in step.

    Raises:
        ValueError: the sequences have different lengths.
    """
    given = [None] * len(references) if languages is None else languages
    return [
        count_errors(reference, hypothesis, language=language, normalizer=normalizer)
        for reference, hypothesis, language in zip(references, hypotheses, given, strict=True)
    ]


def count_token_errors(said: Sequence[str], heard: Sequence[str]) -> ErrorCounts:
    """Count the errors between two sequences of tokens."""
    edits = editops(said, heard)
    if not edits:
        return ErrorCounts(len(said))
    substitutions = 0
    for kind, _, _ in edits.as_list():
        if kind == "replace":
            substitutions += 1
    # Deletions and insertions follow from the number of edits and from the lengths.
    longer = len(heard) - len(said)
    deletions = (len(edits) - substitutions - longer) // 2
    hits = len(said) - substitutions - deletions
    return ErrorCounts(hits, substitutions, deletions, deletions + longer)


def pooled(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """Add up the counts of many clips; the rate of the sum is the corpus-level error rate."""
    return sum(counts, ErrorCounts())


def disagreement(one: str, other: str, language: str | None) -> float:
    """Return the error rate between two texts, whichever is longer being the reference; 0..1."""
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    return min(1.0, count_errors(longer, shorter, language=language).rate) if longer else 0.0


def align(
    reference: str, hypothesis: str, *, language: str | None = None, normalizer: str = "bench"
) -> list[AlignedWord]:
    """Return a minimal alignment of the tokens, in order; arguments as for `count_errors`."""
    said, heard = token_pair(reference, hypothesis, language, normalizer)
    steps: list[AlignedWord] = []
    for block in opcodes(said, heard):
        left = said[block.src_start : block.src_end]
        right = heard[block.dest_start : block.dest_end]
        steps += _block(block.tag, left, right)
    return steps


def token_pair(
    reference: str, hypothesis: str, language: str | None, normalizer: str
) -> tuple[Tokens, Tokens]:
    """Return the tokens of both texts, made by the rules of one language."""
    scored = scored_language(language, reference, normalizer)
    return tokens(reference, scored, normalizer), tokens(hypothesis, scored, normalizer)


def _block(tag: str, said: Sequence[str], heard: Sequence[str]) -> list[AlignedWord]:
    if tag == "delete":
        return [AlignedWord("deletion", word, None) for word in said]
    if tag == "insert":
        return [AlignedWord("insertion", None, word) for word in heard]
    kind = "hit" if tag == "equal" else "substitution"
    return [AlignedWord(kind, a, b) for a, b in zip(said, heard, strict=True)]
