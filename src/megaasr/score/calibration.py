"""Fit the router's threshold on clips with references, by the error rate that routing gives.

A threshold looks too good on the clips that chose it, so it is evaluated by cross-validation: every
clip is routed with the threshold that the other folds chose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from megaasr.score.branches import BranchComparison
from megaasr.score.folds import draw_folds
from megaasr.score.intervals import (
    MIN_BLOCKS,
    TOO_FEW,
    Floats,
    PairedComparison,
    bootstrap_interval,
    paired_bootstrap,
)

SIGNIFICANT = 0.05 / 3
"""The setting in use is changed if the p-value of the difference is below this: 5 %, divided by the
three changes that are tried (the fitted threshold, and either branch alone)."""
_MAX_CANDIDATES = 400
_THRESHOLD_DRAWS = 1_000
_SWEEP_POINTS = 41

Ints = NDArray[np.int64]
Change = Literal["routed", "base", "robust"]
"""A setting that may replace the one in use: the fitted threshold, or one branch for everything."""
_CHANGES: tuple[Change, ...] = ("base", "robust", "routed")  # of equals, the simpler one


@dataclass(frozen=True, slots=True)
class RoutedClip:
    """The errors of a clip at every threshold; they change only where a segment changes branch.

    Attributes:
        id: id of the clip.
        probabilities: each segment's probability, 0..1, of degraded audio, in ascending order.
        errors: sequence of length [segments + 1]; entry k counts the errors with the k least
            degraded segments on the base branch and the others on the robust one. The first entry
            is the robust branch alone, the last one the base branch alone.
        words: length of the reference in tokens.
        block: name of the group (copies of a sentence, a speaker, a recording) that stays together
            in folds and draws; None if the clip stands alone.
    """

    id: str
    probabilities: tuple[float, ...]
    errors: tuple[int, ...]
    words: int
    block: str | None = None

    @classmethod
    def from_comparison(
        cls, clip_id: str, recording: BranchComparison, block: str | None = None
    ) -> Self:
        """Count the errors of a recording that both branches transcribed, at every threshold."""
        probabilities = sorted(
            0.0 if segment.degraded_probability is None else segment.degraded_probability
            for segment in recording.segments
        )
        # Between two neighbouring probabilities nothing changes; above the last, all are base.
        counts = [
            recording.count_errors(recording.text("routed", threshold))
            for threshold in (*probabilities, float("inf"))
        ]
        return cls(
            id=clip_id,
            probabilities=tuple(probabilities),
            errors=tuple(count.errors for count in counts),
            words=counts[0].reference_length,
            block=block,
        )

    @property
    def base_errors(self) -> int:
        """Errors of the base branch alone."""
        return self.errors[-1]

    @property
    def robust_errors(self) -> int:
        """Errors of the robust branch alone."""
        return self.errors[0]

    def routed_errors(self, thresholds: Floats) -> Ints:
        """Return the errors of routing at each threshold.

        Args:
            thresholds: float64 array of shape [thresholds], values in 0..1.

        Returns:
            int64 array of shape [thresholds].
        """
        # A segment is robust from the threshold on, so those strictly below it are base.
        return np.array(self.errors)[np.searchsorted(self.probabilities, thresholds, side="left")]


@dataclass(frozen=True, slots=True)
class RoutingCalibration:
    """The best threshold on labelled clips, and what routing with it gains.

    Attributes:
        clips: number of clips.
        blocks: number of independent blocks among them.
        words: tokens in their references.
        threshold: the threshold with the fewest errors; ties go to the one closest to 0.5.
        default_threshold: the threshold in use now.
        threshold_interval: the middle 95 % of the best thresholds over bootstrap draws.
        rates: error rates of `base`, `robust`, `routed` (cross-validated), `fitted` (on the same
            clips that chose the threshold), `default` (the threshold in use) and `oracle`.
        intervals: 95 % interval of each rate.
        comparisons: `routed` against `base`, `robust` and `default`; a negative difference means
            that routing is better.
        against_default: what might replace the setting in use (`routed`, `base`, `robust`), against
            it; a negative difference means that the change is better.
        sweep: tuples of a threshold, its error rate, and its interval.
        change: the key of `against_default` that is recommended; None to keep the setting in use,
            which is routing with `default_threshold`.

    With fewer than `MIN_BLOCKS` blocks, there are no intervals and no tests, and `change` is None.
    """

    clips: int
    blocks: int
    words: int
    threshold: float
    default_threshold: float
    threshold_interval: tuple[float, float] | None
    rates: dict[str, float]
    intervals: dict[str, tuple[float, float] | None]
    comparisons: dict[str, PairedComparison]
    against_default: dict[Change, PairedComparison]
    sweep: tuple[tuple[float, float, tuple[float, float] | None], ...]
    change: Change | None

    @property
    def route(self) -> Literal["auto", "base", "robust"]:
        """The recommended route."""
        return self.change if self.change in ("base", "robust") else "auto"

    @property
    def recommended_threshold(self) -> float:
        """The recommended threshold: the fitted one if it is to replace the one in use."""
        return self.threshold if self.change == "routed" else self.default_threshold

    @property
    def best_change(self) -> Change:
        """The change with the lowest error rate (of `routed`, the cross-validated one)."""
        return min(_CHANGES, key=self.rates.__getitem__)

    @property
    def advice(self) -> str:
        """The recommendation in a sentence or two."""
        default = f"the setting in use (routing, threshold {self.default_threshold:g})"
        if self.blocks < MIN_BLOCKS:
            return (
                f"{TOO_FEW.capitalize()}: {self.blocks} independent ones, and a change needs "
                f"{MIN_BLOCKS}. Keep {default}."
            )
        best = self.change or self.best_change
        gain = self.against_default[best]
        name = f"the {best} branch alone"
        if best == "routed":
            name = f"routing with a threshold fitted to such clips ({self.threshold:.3f})"
        figures = (
            f"{100 * self.rates[best]:.1f} % with {name} against "
            f"{100 * self.rates['default']:.1f} % ({gain.describe()})"
        )
        if self.change is None:
            return (
                f"Keep {default}: no change is better beyond chance (p below "
                f"{SIGNIFICANT:.3f}, since three are tried). The best was {figures}."
            )
        return f"Change {default}: {figures}."


def calibrate(
    clips: Sequence[RoutedClip],
    *,
    default: float,
    folds: int = 5,
    seed: int = 1,
    replications: int = 10_000,
) -> RoutingCalibration:
    """Fit the router's threshold and evaluate routing by cross-validation.

    Args:
        clips: labelled clips, from at least two blocks.
        default: the threshold in use now, 0..1.
        folds: number of cross-validation folds, at least 2; reduced to the number of blocks.
        seed: seed of folds and bootstrap draws.
        replications: number of bootstrap replications.

    Raises:
        ValueError: there are fewer than two blocks, or the references hold no words.
    """
    block_of_clip = [clip.block or clip.id for clip in clips]
    blocks = sorted(set(block_of_clip))
    if len(blocks) < 2:
        raise ValueError("a threshold needs at least two clips (or blocks) with references")
    if not any(clip.words for clip in clips):
        raise ValueError("no clip has a word in its reference")
    candidates = _candidate_thresholds(clips)
    table = np.stack([clip.routed_errors(candidates) for clip in clips])  # [clips, candidates]
    total = table.sum(axis=0)
    best = _best_candidate(total, candidates)
    errors: dict[str, list[int]] = {
        "base": [clip.base_errors for clip in clips],
        "robust": [clip.robust_errors for clip in clips],
        "routed": _cross_validated(table, candidates, block_of_clip, min(folds, len(blocks)), seed),
        "fitted": table[:, best].tolist(),
        "default": [int(clip.routed_errors(np.array([default]))[0]) for clip in clips],
        "oracle": [min(clip.errors) for clip in clips],
    }
    words = [clip.words for clip in clips]
    rates = {system: sum(counts) / max(1, sum(words)) for system, counts in errors.items()}
    tests = _Tests(words, block_of_clip, seed, replications)
    against_default = {
        change: tests.compare(errors["default"], errors[change]) for change in _CHANGES
    }
    shown = np.unique(np.linspace(0, len(candidates) - 1, _SWEEP_POINTS).round().astype(int))
    return RoutingCalibration(
        clips=len(clips),
        blocks=len(blocks),
        words=sum(words),
        threshold=float(candidates[best]),
        default_threshold=default,
        threshold_interval=(
            None
            if len(blocks) < MIN_BLOCKS
            else _threshold_interval(table, candidates, block_of_clip, seed)
        ),
        rates=rates,
        intervals={system: tests.interval(counts) for system, counts in errors.items()},
        comparisons={
            system: tests.compare(errors[system], errors["routed"])
            for system in ("base", "robust", "default")
        },
        against_default=against_default,
        sweep=tuple(
            (
                float(candidates[index]),
                float(total[index] / max(1, sum(words))),
                tests.interval(table[:, index].tolist()),
            )
            for index in shown.tolist()
        ),
        change=_significant_change(rates, against_default),
    )


@dataclass(frozen=True, slots=True)
class _Tests:
    """Intervals and comparisons of error counts on the same clips."""

    words: Sequence[int]
    blocks: Sequence[str]
    seed: int
    replications: int

    def interval(self, errors: Sequence[int]) -> tuple[float, float] | None:
        return bootstrap_interval(
            errors,
            self.words,
            seed=self.seed,
            replications=self.replications,
            blocks=self.blocks,
        )

    def compare(self, baseline: Sequence[int], system: Sequence[int]) -> PairedComparison:
        return paired_bootstrap(
            baseline,
            system,
            self.words,
            seed=self.seed,
            replications=self.replications,
            blocks=self.blocks,
        )


def _significant_change(
    rates: Mapping[str, float], against_default: Mapping[Change, PairedComparison]
) -> Change | None:
    """Return the best of the changes that are better than the setting in use beyond chance."""
    better = [
        change
        for change, comparison in against_default.items()
        if comparison.difference < 0 and comparison.is_significant(SIGNIFICANT)
    ]
    return min(better, key=rates.__getitem__, default=None)


def _candidate_thresholds(clips: Sequence[RoutedClip]) -> Floats:
    """Return 0, 1, and the midpoints between neighbouring probabilities, thinned if very many."""
    probabilities = np.unique(np.array([p for clip in clips for p in clip.probabilities] or [0.5]))
    midpoints = (probabilities[1:] + probabilities[:-1]) / 2
    if len(midpoints) > _MAX_CANDIDATES:
        kept = np.linspace(0, len(midpoints) - 1, _MAX_CANDIDATES).round().astype(int)
        midpoints = midpoints[kept]
    thresholds: Floats = np.unique(np.concatenate([[0.0], midpoints, [1.0]]))
    return thresholds


def _best_candidate(total: Ints, candidates: Floats) -> int:
    """Return the index of the threshold with the fewest errors; ties go to the closest to 0.5."""
    best = np.flatnonzero(total == total.min())
    return int(best[np.argmin(np.abs(candidates[best] - 0.5))])


def _cross_validated(
    table: Ints, candidates: Floats, block_of_clip: Sequence[str], folds: int, seed: int
) -> list[int]:
    """Return the errors of every clip at the threshold that the other folds chose."""
    fold_of_clip = draw_folds(block_of_clip, folds, seed)
    errors = np.zeros(len(block_of_clip), dtype=np.int64)
    for fold in range(folds):
        chosen = _best_candidate(table[fold_of_clip != fold].sum(axis=0), candidates)
        errors[fold_of_clip == fold] = table[fold_of_clip == fold, chosen]
    return [int(count) for count in errors]


def _threshold_interval(
    table: Ints, candidates: Floats, block_of_clip: Sequence[str], seed: int
) -> tuple[float, float]:
    """Return the middle 95 % of the best thresholds over bootstrap draws of the blocks."""
    rng = np.random.default_rng([seed, 12])
    _, members = np.unique(np.array(block_of_clip), return_inverse=True)
    blocks = np.zeros((int(members.max()) + 1, table.shape[1]), dtype=np.int64)
    np.add.at(blocks, members, table)
    thresholds = []
    for _ in range(_THRESHOLD_DRAWS):
        weights = np.bincount(rng.integers(len(blocks), size=len(blocks)), minlength=len(blocks))
        thresholds.append(float(candidates[_best_candidate(weights @ blocks, candidates)]))
    low, high = np.quantile(thresholds, [0.025, 0.975])
    return float(low), float(high)
