"""Word errors between what was said and what was recognised: the one scorer of the project."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from megaasr.text.normalize import bench_words


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """Hits and errors of one or many texts; counts of several clips add up.

    Attributes:
        hits, substitutions, deletions, insertions: in words.
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
        """Words in the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Errors per reference word (0 is perfect; may exceed 1).

        An empty reference has rate 0 if the hypothesis is empty too, else 1 per inserted word.
        """
        return self.errors / max(1, self.reference_length)

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
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
        reference, hypothesis: the words; None where there is none.
    """

    kind: str
    reference: str | None
    hypothesis: str | None


def count_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Count word errors after `bench` normalisation (case and punctuation ignored)."""
    said, heard = bench_words(reference), bench_words(hypothesis)
    kinds = [tag for tag, _, _ in Levenshtein.editops(said, heard).as_list()]
    substitutions, deletions = kinds.count("replace"), kinds.count("delete")
    hits = len(said) - substitutions - deletions
    return ErrorCounts(hits, substitutions, deletions, kinds.count("insert"))


def pooled(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """Add up the counts of many clips; the rate of the sum is the corpus-level error rate."""
    return sum(counts, ErrorCounts())


def align(reference: str, hypothesis: str) -> list[AlignedWord]:
    """Return a minimal alignment of the normalised words, in order."""
    said, heard = bench_words(reference), bench_words(hypothesis)
    steps: list[AlignedWord] = []
    for block in Levenshtein.opcodes(said, heard):
        left = said[block.src_start : block.src_end]
        right = heard[block.dest_start : block.dest_end]
        steps += _block(block.tag, left, right)
    return steps


def _block(tag: str, said: Sequence[str], heard: Sequence[str]) -> list[AlignedWord]:
    if tag == "delete":
        return [AlignedWord("deletion", word, None) for word in said]
    if tag == "insert":
        return [AlignedWord("insertion", None, word) for word in heard]
    kind = "hit" if tag == "equal" else "substitution"
    return [AlignedWord(kind, a, b) for a, b in zip(said, heard, strict=True)]
