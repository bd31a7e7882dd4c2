"""Fit the router's threshold on clips with references, by the error rate that routing gives.

A threshold looks too good on the clips that chose it, so it is evaluated by cross-validation: every
clip is routed with the threshold that the other folds chose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from megaasr.score.branches import BranchComparison
from megaasr.score.intervals import (
    Floats,
    PairedComparison,
    bootstrap_interval,
    paired_bootstrap,
)

SIGNIFICANT = 0.05
"""Routing counts as better than a branch if the p-value of the difference is below this."""
_MAX_CANDIDATES = 400
_THRESHOLD_DRAWS = 1_000
_SWEEP_POINTS = 41

Ints = NDArray[np.int64]


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
        block: name of the group (a speaker, a recording) that stays together in folds and bootstrap
            draws; None if the clip stands alone.
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
        words: tokens in their references.
        threshold: the threshold with the fewest errors; ties go to the one closest to 0.5.
        threshold_interval: the middle 95 % of the best thresholds over bootstrap draws.
        rates: error rates of `base`, `robust`, `routed` (cross-validated), `fitted` (on the same
            clips that chose the threshold), `default` (the threshold in use) and `oracle`.
        intervals: 95 % interval of each rate.
        comparisons: `routed` against `base`, `robust` and `default`; a negative difference means
            that routing is better.
        sweep: tuples of a threshold, its error rate, and the low and high end of the interval.
        route: the recommended route: `auto` if routing beats the better branch significantly, else
            the better branch.
    """

    clips: int
    words: int
    threshold: float
    threshold_interval: tuple[float, float]
    rates: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    comparisons: dict[str, PairedComparison]
    sweep: tuple[tuple[float, float, float, float], ...]
    route: Literal["auto", "base", "robust"]

    @property
    def advice(self) -> str:
        """The recommendation in a sentence or two."""
        better = "base" if self.rates["base"] <= self.rates["robust"] else "robust"
        gain = self.comparisons[better]
        figures = (
            f"{100 * self.rates['routed']:.1f} % with routing against "
            f"{100 * self.rates[better]:.1f} % with the {better} branch alone "
            f"({100 * gain.difference:+.1f} points, 95 % {100 * gain.low:+.1f} to "
            f"{100 * gain.high:+.1f}, p {gain.p_value:.2g})"
        )
        if self.route == "auto":
            return (
                f"Routing helps on these clips: {figures}. Use the threshold {self.threshold:.3f}."
            )
        return (
            f"Routing does not help on these clips: {figures}. Use the {better} branch for "
            "everything that is like them, or give more clips if the interval is wide."
        )


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
    total_words = max(1, sum(words))
    rates = {system: sum(counts) / total_words for system, counts in errors.items()}
    drawn_blocks = block_of_clip if any(clip.block for clip in clips) else None

    def interval(counts: list[int]) -> tuple[float, float]:
        return bootstrap_interval(
            counts, words, seed=seed, replications=replications, blocks=drawn_blocks
        )

    comparisons = {
        system: paired_bootstrap(
            errors[system],
            errors["routed"],
            words,
            seed=seed,
            replications=replications,
            blocks=drawn_blocks,
        )
        for system in ("base", "robust", "default")
    }
    better: Literal["base", "robust"] = "base" if rates["base"] <= rates["robust"] else "robust"
    gain = comparisons[better]
    helps = gain.difference < 0 and gain.p_value < SIGNIFICANT
    shown = np.unique(np.linspace(0, len(candidates) - 1, _SWEEP_POINTS).round().astype(int))
    return RoutingCalibration(
        clips=len(clips),
        words=sum(words),
        threshold=float(candidates[best]),
        threshold_interval=_threshold_interval(table, candidates, block_of_clip, seed),
        rates=rates,
        intervals={system: interval(counts) for system, counts in errors.items()},
        comparisons=comparisons,
        sweep=tuple(
            (
                float(candidates[index]),
                float(total[index] / total_words),
                *interval(table[:, index].tolist()),
            )
            for index in shown.tolist()
        ),
        route="auto" if helps else better,
    )


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
    blocks = sorted(set(block_of_clip))
    order = np.random.default_rng([seed, 11]).permutation(len(blocks)) % folds
    fold_of_block = dict(zip(blocks, order.tolist(), strict=True))
    fold_of_clip = np.array([fold_of_block[block] for block in block_of_clip])
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
