"""The threshold of a router from clips whose words are known: fitted by the errors that it gives.

A threshold that is judged on the clips that chose it looks too good, so it is judged by
cross-validation: every clip is routed with the threshold that the other folds chose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from megaasr.score.branches import Compared
from megaasr.score.intervals import PairedComparison, bootstrap_interval, paired_bootstrap

SIGNIFICANT = 0.05
_CANDIDATES = 400
_THRESHOLD_DRAWS = 1_000

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RoutedClip:
    """The errors of a clip at every threshold: they change where a piece changes its branch.

    Attributes:
        id: of the clip.
        probabilities: of being degraded, of its pieces, ascending.
        errors: [pieces + 1]; entry k with the k least degraded pieces on the base branch, the
            others on the robust one. So the first is the robust branch's, the last the base's.
        words: of the reference.
        block: what is kept together in folds and draws (a speaker); None for the clip.
    """

    id: str
    probabilities: tuple[float, ...]
    errors: tuple[int, ...]
    words: int
    block: str | None = None

    @property
    def base(self) -> int:
        """Errors of the base branch."""
        return self.errors[-1]

    @property
    def robust(self) -> int:
        """Errors of the robust branch."""
        return self.errors[0]

    def at(self, thresholds: Floats) -> Ints:
        """Return the errors of routing at each threshold."""
        # A piece is robust from the threshold on, so those strictly below stay with the base.
        return np.array(self.errors)[np.searchsorted(self.probabilities, thresholds, side="left")]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What routing is worth on labelled clips, and with which threshold.

    Attributes:
        clips, words: that it was fitted on.
        threshold: the best on all clips; of equals the middle of those nearest to 0.5.
        threshold_interval: 95 % of the best ones over draws of the clips.
        rates: error rates of `base`, `robust`, `routed` (cross-validated), `fitted` (on the very
            clips that chose the threshold), `default` (the threshold in use) and `oracle`.
        intervals: 95 % interval of each.
        comparisons: of `routed` against `base`, `robust` and `default`; a negative difference is
            routing's gain.
        sweep: (threshold, error rate, lower and upper end of its interval).
        route: what to do: `auto` if routing beats both branches alone (the better one
            significantly), else the better branch.
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
        """What to do, in a sentence or two for people."""
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


def routed_clip(name: str, recording: Compared, block: str | None = None) -> RoutedClip:
    """Return the errors of a recording that both branches heard, at every threshold."""
    known = sorted(
        one.degraded_probability if one.degraded_probability is not None else 0.0
        for one in recording.stretches
    )
    # Between two pieces' probabilities nothing changes; above the last one all are base.
    between = [*known, float("inf")]
    errors = [recording.errors(recording.text("routed", at)) for at in between]
    return RoutedClip(
        name,
        tuple(known),
        tuple(one.errors for one in errors),
        errors[0].reference_length,
        block,
    )


def calibrate(
    clips: Sequence[RoutedClip],
    *,
    default: float,
    folds: int = 5,
    seed: int = 1,
    replications: int = 10_000,
) -> Calibration:
    """Fit the threshold and judge it.

    Args:
        clips: at least two blocks.
        default: the threshold that is in use now, 0..1.
        folds: of the cross-validation, 2 or more; not more than there are blocks.
        seed: of folds and draws.
        replications: of the bootstrap.

    Raises:
        ValueError: there are fewer than two blocks, or no words.
    """
    names = [clip.block or clip.id for clip in clips]
    blocks = sorted(set(names))
    if len(blocks) < 2:
        raise ValueError("a threshold needs at least two clips (or blocks) with references")
    if not any(clip.words for clip in clips):
        raise ValueError("no clip has a word in its reference")
    candidates = _candidates(clips)
    table = np.stack([clip.at(candidates) for clip in clips])  # [clips, candidates]
    total = table.sum(axis=0)
    best = float(candidates[_best(total, candidates)])
    words = [clip.words for clip in clips]
    errors: dict[str, list[int]] = {
        "base": [clip.base for clip in clips],
        "robust": [clip.robust for clip in clips],
        "routed": _cross_validated(table, candidates, names, min(folds, len(blocks)), seed),
        "fitted": table[:, _best(total, candidates)].tolist(),
        "default": [int(clip.at(np.array([default]))[0]) for clip in clips],
        "oracle": [min(clip.errors) for clip in clips],
    }
    drawn = names if any(clip.block for clip in clips) else None
    said = max(1, sum(words))
    rates = {name: sum(counts) / said for name, counts in errors.items()}

    def interval(counts: list[int]) -> tuple[float, float]:
        return bootstrap_interval(counts, words, seed=seed, replications=replications, blocks=drawn)

    comparisons = {
        name: paired_bootstrap(
            errors[name],
            errors["routed"],
            words,
            seed=seed,
            replications=replications,
            blocks=drawn,
        )
        for name in ("base", "robust", "default")
    }
    better: Literal["base", "robust"] = "base" if rates["base"] <= rates["robust"] else "robust"
    gain = comparisons[better]
    helps = gain.difference < 0 and gain.p_value < SIGNIFICANT
    shown = np.unique(np.linspace(0, len(candidates) - 1, 41).round().astype(int))
    return Calibration(
        clips=len(clips),
        words=sum(words),
        threshold=best,
        threshold_interval=_spread(table, candidates, names, seed),
        rates=rates,
        intervals={name: interval(counts) for name, counts in errors.items()},
        comparisons=comparisons,
        sweep=tuple(
            (float(candidates[at]), float(total[at] / said), *interval(table[:, at].tolist()))
            for at in shown.tolist()
        ),
        route="auto" if helps else better,
    )


def _candidates(clips: Sequence[RoutedClip]) -> Floats:
    """Return thresholds between neighbouring probabilities, and 0 and 1; thinned if very many."""
    known = np.unique(np.array([p for clip in clips for p in clip.probabilities] or [0.5]))
    between = (known[1:] + known[:-1]) / 2
    if len(between) > _CANDIDATES:
        between = between[np.linspace(0, len(between) - 1, _CANDIDATES).round().astype(int)]
    found: Floats = np.unique(np.concatenate([[0.0], between, [1.0]]))
    return found


def _best(total: Ints, candidates: Floats) -> int:
    """Return which candidate has the fewest errors; of equals the one nearest to 0.5."""
    least = np.flatnonzero(total == total.min())
    return int(least[np.argmin(np.abs(candidates[least] - 0.5))])


def _cross_validated(
    table: Ints, candidates: Floats, names: Sequence[str], folds: int, seed: int
) -> list[int]:
    """Return the errors of every clip at the threshold that the other folds chose."""
    blocks = sorted(set(names))
    order = np.random.default_rng([seed, 11]).permutation(len(blocks)) % folds
    fold = dict(zip(blocks, order.tolist(), strict=True))
    mine = np.array([fold[name] for name in names])
    found = np.zeros(len(names), dtype=np.int64)
    for number in range(folds):
        chosen = _best(table[mine != number].sum(axis=0), candidates)
        found[mine == number] = table[mine == number, chosen]
    return [int(one) for one in found]


def _spread(
    table: Ints, candidates: Floats, names: Sequence[str], seed: int
) -> tuple[float, float]:
    """Return the middle 95 % of the best thresholds over draws of the blocks."""
    rng = np.random.default_rng([seed, 12])
    _, of = np.unique(np.array(names), return_inverse=True)
    summed = np.zeros((int(of.max()) + 1, table.shape[1]), dtype=np.int64)
    np.add.at(summed, of, table)
    table = summed
    found = []
    for _ in range(_THRESHOLD_DRAWS):
        weights = np.bincount(rng.integers(len(table), size=len(table)), minlength=len(table))
        found.append(float(candidates[_best(weights @ table, candidates)]))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)
