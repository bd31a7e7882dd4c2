"""Validation in training: error rate by band of the base's error, and the rates of failures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from megaasr.audio.clips import read_clip
from megaasr.errors import AudioError
from megaasr.model.interface import Request, SpeechModel
from megaasr.text.error_rate import ErrorCounts, count_errors, pooled
from megaasr.text.failures import FailureKind, find_failures
from megaasr.train.clips import Clip

_BOUNDS = (0.3, 0.5, 0.7)
_WATCHED = (
    FailureKind.EMPTY,
    FailureKind.HALLUCINATION,
    FailureKind.OMISSION,
    FailureKind.REPETITION,
    FailureKind.TRUNCATED,
)
WORSE = 0.01
"""So much may the share of failing outputs lie above that of the best checkpoint."""


class Validation:
    """A fixed choice of dev clips, decoded anew at every validation.

    Args:
        clips: of the dev set, graded.
        count: how many, taken evenly from the list.
    """

    def __init__(self, clips: Sequence[Clip], count: int) -> None:
        count = min(count, len(clips))
        self._heard: list[tuple[Clip, Request]] = []
        for at in range(count):
            clip = clips[at * len(clips) // count]
            try:
                self._heard.append((clip, Request(read_clip(Path(), clip.audio).samples)))
            except (AudioError, OSError):
                continue

    def __call__(self, model: SpeechModel) -> dict[str, float]:
        """Return the metrics of a model, all as rates in 0..1 (error rates may exceed 1)."""
        answers = model.recognize([request for _, request in self._heard])
        by_band: dict[str, list[ErrorCounts]] = defaultdict(list)
        failures: Counter[FailureKind] = Counter()
        for (clip, _), said in zip(self._heard, answers, strict=True):
            counts = count_errors(clip.text, said.text, language=clip.language)
            by_band[_band(clip.error_rate)].append(counts)
            by_band["all"].append(counts)
            failures.update(
                one.kind
                for one in find_failures(
                    clip.text, said.text, language=clip.language, truncated=said.budget_hit
                )
            )
        totals = {name: pooled(counts) for name, counts in by_band.items()}
        whole, clips = totals["all"], max(1, len(self._heard))
        length = max(1, whole.reference_length)
        return {
            **{f"dev_wer_{name}": round(one.rate, 5) for name, one in sorted(totals.items())},
            "dev_substitutions": round(whole.substitutions / length, 5),
            "dev_deletions": round(whole.deletions / length, 5),
            "dev_insertions": round(whole.insertions / length, 5),
            **{f"dev_{kind}": round(failures[kind] / clips, 5) for kind in _WATCHED},
        }


def is_better(
    found: dict[str, Any],
    best: dict[str, Any] | None,
    failures: Sequence[str] = ("empty", "hallucination"),
) -> bool:
    """Tell whether a checkpoint is better than the best so far.

    The rule: a lower error rate over all dev clips, and not more failures than the best had by over
    one clip in a hundred.

    Args:
        found, best: metrics; None if there was none before.
        failures: that are watched.
    """
    if best is None:
        return True
    failing = sum(found[f"dev_{one}"] for one in failures)
    allowed = sum(best[f"dev_{one}"] for one in failures) + WORSE
    return bool(found["dev_wer_all"] < best["dev_wer_all"] and failing <= allowed)


def _band(error_rate: float | None) -> str:
    if error_rate is None:
        return "ungraded"
    return next((f"below_{100 * b:.0f}" for b in _BOUNDS if error_rate < b), "above")
