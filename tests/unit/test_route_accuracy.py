"""How well a router tells degraded audio from clean audio, on hand-made scores."""

from __future__ import annotations

import numpy as np
import pytest

from megaasr.route.accuracy import auc, binary_classification_metrics


def test_measures() -> None:
    scores, labels = [0.9, 0.6, 0.2, 0.7, 0.1], [True, True, True, False, False]
    metrics = binary_classification_metrics(scores, labels, [0.9, 0.5, 0.1, None, None], 0.5)
    assert metrics == {
        "accuracy": 0.6,
        "accuracy_severity_0.3": 0.75,
        "precision": round(2 / 3, 5),
        "recall": round(2 / 3, 5),
        "f1": round(2 / 3, 5),
        "auc": round(4 / 6, 5),
    }


def test_auc() -> None:
    scores, labels = np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])
    assert auc(scores, labels) == pytest.approx(0.75)
    assert auc(np.array([0.5, 0.5]), np.array([True, False])) == 0.5
    assert np.isnan(auc(scores, np.array([True] * 4)))
