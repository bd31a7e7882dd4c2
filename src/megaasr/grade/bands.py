"""The base model's error rate on a clip, and the curriculum band that the clip falls into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from megaasr.model.interface import Recognition
from megaasr.text.error_bands import band_of
from megaasr.text.error_rate import ErrorCounts, count_errors
from megaasr.text.failures import find_failures
from megaasr.text.normalize import versioned

NORMALIZER = versioned("bench")
"""The normaliser of all grades, with its version, which the output folder records."""


@dataclass(frozen=True, slots=True)
class Grade:
    """The base model's result on a clip, compared with the reference.

    Attributes:
        hypothesis: text that the model recognised.
        language: language that the model recognised, ISO code or None.
        counts: errors of the hypothesis against the reference.
        flags: kinds of failures, see `megaasr.text.failures`.
    """

    hypothesis: str
    language: str | None
    counts: ErrorCounts
    flags: tuple[str, ...]

    def columns(self, model: str) -> dict[str, Any]:
        """Return the columns that grading adds to the record of a clip."""
        return {
            "base_model": model,
            "base_text": self.hypothesis,
            "base_language": self.language,
            "base_error_rate": self.counts.rate,
            "base_hits": self.counts.hits,
            "base_substitutions": self.counts.substitutions,
            "base_deletions": self.counts.deletions,
            "base_insertions": self.counts.insertions,
            "base_flags": ",".join(self.flags),
            "base_band": band_of(self.counts.rate),
        }


def grade(reference: str, result: Recognition, language: str | None) -> Grade:
    """Compare the result of a model with the reference.

    Args:
        reference: reference transcript; empty if the clip has no speech.
        result: result of the model.
        language: ISO code of the reference; None if it is unknown.
    """
    counts = count_errors(reference, result.text, language=language, normalizer=NORMALIZER)
    failures = find_failures(
        reference,
        result.text,
        language=language,
        normalizer=NORMALIZER,
        truncated=result.budget_hit,
    )
    flags = tuple(str(failure.kind) for failure in failures)
    return Grade(result.text, result.language, counts, flags)
