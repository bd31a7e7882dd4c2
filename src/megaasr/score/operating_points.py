"""What marking unintelligible words gains and costs at every limit of confidence.

The lower the limit, the more wrong words are shown; the higher, the more right ones are hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from megaasr.score.word_hits import ClipWords
from megaasr.transcribe.segment_facts import Calibrate
from megaasr.transcribe.unintelligible import find_unintelligible

LIMITS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Limits of confidence at which the curve is drawn; at 0 nothing is hidden."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The words that are shown with one limit of confidence.

    Attributes:
        limit: confidence, 0..1, below which words are marked (`--unintelligible`).
        shown: number of words that are shown.
        right_shown: number of these that are right.
        right_hidden: number of right words that are hidden.
        wrong: number of wrong words, shown and hidden.
        reference_length: number of words that were spoken.
    """

    limit: float
    shown: int
    right_shown: int
    right_hidden: int
    wrong: int
    reference_length: int

    @property
    def precision(self) -> float:
        """Share of the shown words that are right."""
        return self.right_shown / max(1, self.shown)

    @property
    def recall(self) -> float:
        """Share of the spoken words that are shown."""
        return self.right_shown / max(1, self.reference_length)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0

    @property
    def wrong_shown_share(self) -> float:
        """Share of the wrong words that are shown all the same."""
        return (self.shown - self.right_shown) / max(1, self.wrong)

    @property
    def right_hidden_share(self) -> float:
        """Share of the right words that are hidden."""
        return self.right_hidden / max(1, self.right_shown + self.right_hidden)

    def to_record(self) -> dict[str, float]:
        """Return the point for a JSON file, with its rates rounded to four digits."""
        rates = ("precision", "recall", "f1", "wrong_shown_share", "right_hidden_share")
        return {"limit": self.limit} | {name: round(getattr(self, name), 4) for name in rates}


def operating_points(
    clips: Sequence[ClipWords],
    calibration: Calibrate,
    limits: Sequence[float] = LIMITS,
) -> list[OperatingPoint]:
    """Return what is shown at each limit.

    Args:
        clips: the recognised words of clips with references.
        calibration: maps the model's probability of a word to its confidence.
        limits: limits of confidence, 0..1.
    """
    calibrated = [
        replace(
            clip,
            segments=tuple(
                tuple(replace(w, confidence=calibration(w.confidence or 0.0, facts)) for w in words)
                for words, facts in zip(clip.segments, clip.facts, strict=True)
            ),
        )
        for clip in clips
    ]
    return [_point(calibrated, limit) for limit in limits]


def _point(clips: Sequence[ClipWords], limit: float) -> OperatingPoint:
    shown = right_shown = right_hidden = wrong = 0
    for clip in clips:
        for words, correct in zip(clip.segments, clip.correct, strict=True):
            hidden = {
                index
                for span in find_unintelligible(words, limit)
                for index in range(span.first_word, span.last_word + 1)
            }
            shown += len(words) - len(hidden)
            wrong += correct.count(False)
            right_hidden += sum(correct[index] for index in hidden)
            right_shown += sum(correct) - sum(correct[index] for index in hidden)
    length = sum(clip.reference_length for clip in clips)
    return OperatingPoint(limit, shown, right_shown, right_hidden, wrong, length)
