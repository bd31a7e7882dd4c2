"""What the best threshold of a router on some recordings is worth, in a sentence."""

from __future__ import annotations

from megaasr.report.wording import percent
from megaasr.score.branches import BranchScores


def describe_best_threshold(scores: BranchScores) -> str:
    """Return the best threshold, or that none helps: one that sends everything to the better branch
    is no threshold.

    Args:
        scores: the branches' scores; with a router.
    """
    lowest = min(rate for _, rate in scores.sweep)
    single = {branch: scores.counts[branch].rate for branch in ("base", "robust")}
    better = min(single, key=lambda branch: single[branch])
    if scores.best_threshold is None or lowest >= single[better]:
        return (
            "No threshold of the router makes fewer errors on these recordings than the "
            f"{better} branch alone ({percent(single[better])} %)."
        )
    return (
        f"The best threshold on these recordings would have been {scores.best_threshold:.3f} "
        f"({percent(lowest)} %); it is fitted to them, so expect less of it on others. Used: "
        f"{scores.threshold:g}."
    )
