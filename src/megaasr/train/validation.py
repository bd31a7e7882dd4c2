"""Validation of adapters: error rate by band, rates of failures, and the best adapter so far."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megaasr import strict_json
from megaasr.adapter.peft_layout import Adapter
from megaasr.atomic import write_atomically
from megaasr.audio.clips import read_clip
from megaasr.corpora.clip_check import MAX_LEFT_OUT, UNREADABLE, LeftOut, find_problem
from megaasr.errors import AudioError, TrainingError
from megaasr.model.interface import Request, SpeechModel
from megaasr.text.error_bands import band_of
from megaasr.text.error_rate import ErrorCounts, count_errors, pooled
from megaasr.text.failures import FailureKind, find_failures
from megaasr.train.clips import Clip
from megaasr.train.run import read_json

_REPORTED_FAILURES = (
    FailureKind.EMPTY,
    FailureKind.HALLUCINATION,
    FailureKind.OMISSION,
    FailureKind.REPETITION,
    FailureKind.TRUNCATED,
)
FAILURE_TOLERANCE = 0.01
"""How far the share of failed clips may lie above that of the best adapter so far."""


class Validation:
    """A fixed selection of dev clips, decoded anew at every validation.

    Args:
        clips: clips of the dev set; graded clips are reported by band.
        count: number of clips, taken from the list at even intervals.
        max_left_out: largest share of these clips, 0..1, that may be left out because they cannot
            be used.

    Raises:
        TrainingError: there is no clip, none can be used, or too many cannot.
    """

    def __init__(
        self, clips: Sequence[Clip], count: int, max_left_out: float = MAX_LEFT_OUT
    ) -> None:
        count = min(count, len(clips))
        problems: list[tuple[str, str]] = []
        self._requests: list[tuple[Clip, Request]] = []
        for number in range(count):
            clip = clips[number * len(clips) // count]
            try:
                samples = read_clip(Path(), clip.audio).samples
            except (AudioError, OSError):
                problems.append((clip.id, UNREADABLE))
                continue
            if problem := find_problem(samples.size, clip.text, clip.duration_s):
                problems.append((clip.id, problem))
                continue
            self._requests.append((clip, Request(samples)))
        if not clips:
            raise TrainingError("dev: there are no clips of at most 30 s")
        LeftOut(count, tuple(problems)).require(max_left_out, "dev")

    def __call__(self, model: SpeechModel) -> dict[str, float]:
        """Return the metrics of a model: rates of 0..1, except that error rates may exceed 1."""
        recognitions = model.recognize([request for _, request in self._requests])
        by_band: dict[str, list[ErrorCounts]] = defaultdict(list)
        failures: Counter[FailureKind] = Counter()
        for (clip, _), result in zip(self._requests, recognitions, strict=True):
            counts = count_errors(clip.text, result.text, language=clip.language)
            by_band[_band(clip)].append(counts)
            by_band["all"].append(counts)
            failures.update(
                failure.kind
                for failure in find_failures(
                    clip.text, result.text, language=clip.language, truncated=result.budget_hit
                )
            )
        totals = {name: pooled(counts) for name, counts in by_band.items()}
        total, clips = totals["all"], len(self._requests)
        words = max(1, total.reference_length)
        return {
            **{f"dev_wer_{name}": round(c.rate, 5) for name, c in sorted(totals.items())},
            "dev_substitutions": round(total.substitutions / words, 5),
            "dev_deletions": round(total.deletions / words, 5),
            "dev_insertions": round(total.insertions / words, 5),
            **{f"dev_{kind}": round(failures[kind] / clips, 5) for kind in _REPORTED_FAILURES},
        }


def _band(clip: Clip) -> str:
    return "ungraded" if clip.error_rate is None else band_of(clip.error_rate)


@dataclass(frozen=True, slots=True)
class BestAdapter:
    """The adapter with the best validation so far, in a folder together with its metrics.

    Attributes:
        folder: folder of the adapter.
        write: writes an adapter into a folder.
        failures: failures that a better adapter must not have more of, see `is_better`.
    """

    folder: Path
    write: Callable[[Adapter, Path], None]
    failures: Sequence[str] = ("empty", "hallucination")

    @property
    def metrics(self) -> dict[str, Any] | None:
        """The step and the metrics of the best validation; None before the first one."""
        return read_json(self.folder / "validation.json")

    def offer(self, step: int, metrics: dict[str, float], adapter: Callable[[], Adapter]) -> bool:
        """Keep an adapter if it is the best so far; return whether it is.

        Args:
            step: step of the validation. A resumed run may repeat the step of the best adapter,
                which is then written again.
            metrics: metrics of the adapter, as `Validation` returns them.
            adapter: returns the adapter; called only if it is kept.
        """
        best = self.metrics
        is_best = is_better(metrics, best, self.failures) or (best or {}).get("step") == step
        if is_best:
            self.write(adapter(), self.folder)
            row = strict_json.dumps({"step": step, **metrics})
            write_atomically(self.folder / "validation.json", row)
        return is_best


def is_better(
    metrics: dict[str, Any],
    best: dict[str, Any] | None,
    failures: Sequence[str] = ("empty", "hallucination"),
) -> bool:
    """Tell whether an adapter is better than the best one so far.

    It is better if its error rate over all dev clips is lower, and its share of failed clips
    exceeds that of the best one by at most one clip in a hundred.

    Args:
        metrics: metrics of the adapter.
        best: metrics of the best one so far; None if there is none.
        failures: the kinds of failure that are counted.
    """
    if best is None:
        return True
    failed = sum(metrics[f"dev_{kind}"] for kind in failures)
    allowed = sum(best[f"dev_{kind}"] for kind in failures) + FAILURE_TOLERANCE
    return bool(metrics["dev_wer_all"] < best["dev_wer_all"] and failed <= allowed)
