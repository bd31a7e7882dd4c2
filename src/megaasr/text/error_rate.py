"""Word and character errors of a hypothesis against a reference: the project's only scorer.

Languages written with spaces are scored by words (WER), others by characters (CER); a normaliser
makes the tokens. An alignment uses the fewest edits possible; where several alignments do, counts
and alignment both follow the one that rapidfuzz finds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rapidfuzz.distance.Levenshtein import editops, opcodes

from megaasr.text.normalize import Tokens, scored_language, tokens


class ErrorCounts(NamedTuple):
    """Hits and errors of one or more texts; the counts of several texts can be added.

    A named tuple, because making a frozen data class takes as long as counting the errors.

    Attributes:
        hits, substitutions, deletions, insertions: numbers of tokens (words or characters).
    """

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        """The sum of substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_length(self) -> int:
        """Tokens in the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Errors per reference token; 0 is perfect, and insertions may take it above 1.

        For an empty reference, the number of inserted tokens.
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
        reference: the token of the reference; None for an insertion.
        hypothesis: the token of the hypothesis; None for a deletion.
    """

    kind: str
    reference: str | None
    hypothesis: str | None


def count_errors(
    reference: str, hypothesis: str, *, language: str | None = None, normalizer: str = "bench"
) -> ErrorCounts:
    """Count the errors of one text.

    Args:
        reference: the correct transcript; empty if nobody speaks.
        hypothesis: the recognised text.
        language: ISO code; None to guess from the reference (`normalize.scored_language`).
        normalizer: name of a normaliser, see `megaasr.text.normalize`.

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
    """Count the errors of many texts.

    Args:
        references: the correct transcripts.
        hypotheses: the recognised texts, one per reference.
        languages: ISO codes, one per reference; None in place of a code, or of all of them, to
            guess from the reference.
        normalizer: name of a normaliser, see `megaasr.text.normalize`.

    Raises:
        ValueError: the sequences have different lengths.
        UsageError: there is no such normaliser, or its library is not installed.
    """
    codes = [None] * len(references) if languages is None else languages
    return [
        count_errors(reference, hypothesis, language=language, normalizer=normalizer)
        for reference, hypothesis, language in zip(references, hypotheses, codes, strict=True)
    ]


def count_token_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCounts:
    """Count the errors between two sequences of tokens."""
    edits = editops(reference, hypothesis)
    if not edits:
        return ErrorCounts(len(reference))
    substitutions = 0
    for kind, _, _ in edits.as_list():
        if kind == "replace":
            substitutions += 1
    # Deletions and insertions follow from the number of edits and from the lengths.
    surplus = len(hypothesis) - len(reference)
    deletions = (len(edits) - substitutions - surplus) // 2
    hits = len(reference) - substitutions - deletions
    return ErrorCounts(hits, substitutions, deletions, deletions + surplus)


def pooled(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """Add up the counts of many texts; the rate of the sum is the corpus-level error rate."""
    return sum(counts, ErrorCounts())


def disagreement(first: str, second: str, language: str | None) -> float:
    """Return how much two hypotheses differ: their error rate, 0..1, the longer as reference."""
    longer, shorter = (first, second) if len(first) >= len(second) else (second, first)
    return min(1.0, count_errors(longer, shorter, language=language).rate) if longer else 0.0


def align(
    reference: str, hypothesis: str, *, language: str | None = None, normalizer: str = "bench"
) -> list[AlignedWord]:
    """Return an alignment with the fewest edits, in order; arguments as for `count_errors`."""
    return align_tokens(*token_pair(reference, hypothesis, language, normalizer))


def align_tokens(reference: Sequence[str], hypothesis: Sequence[str]) -> list[AlignedWord]:
    """Return an alignment of two sequences of tokens with the fewest edits, in order."""
    steps: list[AlignedWord] = []
    for block in opcodes(reference, hypothesis):
        steps += _aligned_block(
            block.tag,
            reference[block.src_start : block.src_end],
            hypothesis[block.dest_start : block.dest_end],
        )
    return steps


def token_pair(
    reference: str, hypothesis: str, language: str | None, normalizer: str
) -> tuple[Tokens, Tokens]:
    """Return the tokens of reference and hypothesis, both made by the rules of one language."""
    scored = scored_language(language, reference, normalizer)
    return tokens(reference, scored, normalizer), tokens(hypothesis, scored, normalizer)


def _aligned_block(
    tag: str, reference: Sequence[str], hypothesis: Sequence[str]
) -> list[AlignedWord]:
    if tag == "delete":
        return [AlignedWord("deletion", word, None) for word in reference]
    if tag == "insert":
        return [AlignedWord("insertion", None, word) for word in hypothesis]
    kind = "hit" if tag == "equal" else "substitution"
    return [AlignedWord(kind, *words) for words in zip(reference, hypothesis, strict=True)]
