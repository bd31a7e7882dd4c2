"""The base model's error on one clip, and the band of the curriculum that it falls into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from megaasr.model.interface import Recognition
from megaasr.text.error_rate import ErrorCounts, count_errors
from megaasr.text.failures import find_failures

BOUNDS = (0.3, 0.5, 0.7)
"""Upper bounds (strict) of the bands: stages of A2S-SFT; the last is the learnability filter."""
BANDS = ("below_30", "below_50", "below_70", "above")


@dataclass(frozen=True, slots=True)
class Grade:
    """What the base model made of a clip.

    Attributes:
        text, language: what it said.
        counts: of errors against the reference.
        flags: kinds of failure, see `megaasr.text.failures`.
    """

    text: str
    language: str | None
    counts: ErrorCounts
    flags: tuple[str, ...]

    def columns(self, model: str) -> dict[str, Any]:
        """Return the columns that a graded record has beside those of its clip."""
        return {
            "base_model": model,
            "base_text": self.text,
            "base_language": self.language,
            "base_error_rate": self.counts.rate,
            "base_hits": self.counts.hits,
            "base_substitutions": self.counts.substitutions,
            "base_deletions": self.counts.deletions,
            "base_insertions": self.counts.insertions,
            "base_flags": ",".join(self.flags),
            "base_band": band(self.counts.rate),
        }


def band(error_rate: float) -> str:
    """Return the band of an error rate: the first whose (strict) bound it stays below."""
    return next((b for b, most in zip(BANDS, BOUNDS, strict=False) if error_rate < most), BANDS[-1])


def grade(reference: str, said: Recognition, language: str | None) -> Grade:
    """Compare what a model said with what was said.

    Args:
        reference: the words; empty where nobody speaks.
        said: by the model.
        language: ISO code of the reference, None if unknown.
    """
    counts = count_errors(reference, said.text, language=language)
    found = find_failures(reference, said.text, language=language, truncated=said.budget_hit)
    return Grade(said.text, said.language, counts, tuple(str(one.kind) for one in found))
