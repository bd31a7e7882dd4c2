"""Logistic regression by Newton's method, for the few numbers that are stored beside a model."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_MAX_STEPS = 50
_MAX_LOG_ODDS = 50.0


def sigmoid(log_odds: float) -> float:
    """Return the probability, 0..1, of log-odds, which are limited to -50 .. 50."""
    return 1.0 / (1.0 + math.exp(-max(-_MAX_LOG_ODDS, min(_MAX_LOG_ODDS, log_odds))))


def fit_logistic(
    design: Floats,
    targets: Floats,
    *,
    importance: Floats | None = None,
    start: Floats | None = None,
    penalty: Floats | float = 0.0,
) -> Floats:
    """Return the coefficients of the highest (penalised) likelihood.

    Args:
        design: features of the examples, float64 of shape [examples, features].
        targets: probability, 0..1, of each example, float64 of shape [examples].
        importance: weight of each example in the likelihood, of shape [examples]; 1 without it.
        start: coefficients to begin with, of shape [features]; zeros without them.
        penalty: weight of half the square of each coefficient (ridge), of shape [features].
    """
    count = design.shape[1]
    weight = np.ones(len(design)) if importance is None else importance
    ridge = np.broadcast_to(np.asarray(penalty, dtype=np.float64), (count,))
    coefficients = np.zeros(count) if start is None else start.astype(np.float64)
    for _ in range(_MAX_STEPS):
        log_odds = np.clip(design @ coefficients, -_MAX_LOG_ODDS, _MAX_LOG_ODDS)
        p = 1.0 / (1.0 + np.exp(-log_odds))
        gradient = design.T @ (weight * (p - targets)) + ridge * coefficients
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design
        step = np.linalg.solve(curvature + np.diag(ridge) + 1e-9 * np.eye(count), gradient)
        coefficients = coefficients - step
        if float(np.abs(step).max()) < 1e-9:
            break
    return coefficients
