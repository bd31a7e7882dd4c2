"""Metrics of a router as a classifier of clean and degraded audio."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

MIN_AUDIBLE_SEVERITY = 0.3
"""Severity from which a simulated degradation is clearly audible."""


def binary_classification_metrics(
    scores: Sequence[float],
    labels: Sequence[bool],
    severities: Sequence[float | None],
    threshold: float,
) -> dict[str, float]:
    """Return the metrics of a router's scores.

    Args:
        scores: probability of degraded audio of each clip, 0..1.
        labels: whether each clip is degraded (or the robust branch is better on it).
        severities: severity of each clip, 0..1; None if unknown.
        threshold: score from which a clip is classified as degraded.

    Returns:
        Accuracy, precision, recall and F1 at the threshold; `auc`, the area under the ROC curve;
        `accuracy_severity_0.3`, the accuracy without degraded clips of a severity below 0.3.

    Raises:
        ValueError: there are no clips.
    """
    if not len(scores):
        raise ValueError("there are no clips to evaluate the router on")
    probability, degraded = np.array(scores, dtype=np.float64), np.array(labels, dtype=np.bool_)
    predicted = probability >= threshold
    hits = float((predicted & degraded).sum())
    precision, recall = hits / max(1, predicted.sum()), hits / max(1, degraded.sum())
    audible = np.array([(s or 0.0) >= MIN_AUDIBLE_SEVERITY for s in severities], np.bool_)
    correct = predicted == degraded
    return {
        "accuracy": round(float(correct.mean()), 5),
        "accuracy_severity_0.3": round(float(correct[audible | ~degraded].mean()), 5),
        "precision": round(float(precision), 5),
        "recall": round(float(recall), 5),
        "f1": round(float(2 * precision * recall / max(1e-9, precision + recall)), 5),
        "auc": round(auc(probability, degraded), 5),
    }


def auc(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve, the probability that a degraded clip scores above a
    clean one.

    Args:
        scores: score of each clip, float64 of shape [clips].
        labels: whether each clip is degraded, bool of shape [clips].

    Returns:
        The area, 0..1; ties count one half. NaN if the clips are all clean or all degraded.
    """
    positive, negative = int(labels.sum()), int((~labels).sum())
    if not positive or not negative:
        return float("nan")
    ranks = rankdata(scores)
    wins = float(ranks[labels].sum()) - positive * (positive + 1) / 2
    return wins / (positive * negative)
