"""How well a router tells degraded audio from clean audio."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

SEVERE = 0.3
"""From this severity on, a degradation is meant to be heard."""


def classification(
    scores: Sequence[float],
    labels: Sequence[bool],
    severities: Sequence[float | None],
    threshold: float,
) -> dict[str, float]:
    """Return accuracy, precision, recall and F1 at a threshold, AUC, and the accuracy on clean
    clips and those of severity 0.3 and more.

    Args:
        scores: probability of "degraded" of each clip, 0..1.
        labels: whether the clip is degraded (or the robust branch better on it).
        severities: 0..1; None where it is not known.
        threshold: at which a clip counts as degraded.

    Raises:
        ValueError: there are no clips.
    """
    if not len(scores):
        raise ValueError("a router is judged on clips, and there are none")
    probability, degraded = np.array(scores, dtype=np.float64), np.array(labels, dtype=np.bool_)
    chosen = probability >= threshold
    hits = float((chosen & degraded).sum())
    precision, recall = hits / max(1, chosen.sum()), hits / max(1, degraded.sum())
    severe = np.array([(s or 0.0) >= SEVERE for s in severities], np.bool_) | ~degraded
    right = chosen == degraded
    return {
        "accuracy": round(float(right.mean()), 5),
        "accuracy_severity_0.3": round(float(right[severe].mean()), 5),
        "precision": round(float(precision), 5),
        "recall": round(float(recall), 5),
        "f1": round(float(2 * precision * recall / max(1e-9, precision + recall)), 5),
        "auc": round(auc(probability, degraded), 5),
    }


def auc(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve: how often a degraded clip scores above a clean one."""
    positive, negative = int(labels.sum()), int((~labels).sum())
    if not positive or not negative:
        return float("nan")
    ranks = rankdata(scores)
    wins = float(ranks[labels].sum()) - positive * (positive + 1) / 2
    return wins / (positive * negative)
