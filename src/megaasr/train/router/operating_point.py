"""The operating point of a finished router: which share of the clean clips stays with the base.

The probability of degraded audio that a router learns depends on how the labels are balanced. What
users feel is how much of their clean speech is sent to the adapter, so the probability is shifted
afterwards, until 0.5 separates as many clean clips as wanted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from megaasr.route.classifier import AudioQualityClassifier
from megaasr.route.decision import THRESHOLD
from megaasr.route.router import Router
from megaasr.train.router.data import LabelledClip
from megaasr.train.router.metrics import score_clips

_MARGIN = 1e-3  # nats beyond the last clip that is to stay
_LARGEST_PROBABILITY = 1 - 1e-6


def keep_clean(
    network: AudioQualityClassifier, clean: Sequence[LabelledClip], share: float
) -> float:
    """Lower the bias of the label "degraded" until enough clean clips stay with the base.

    Args:
        network: finished network, in evaluation mode; its last bias is changed.
        clean: clean clips with speech, at least one that can be read.
        share: smallest share of them, 0..1, whose probability is to be below 0.5.

    Returns:
        The shift in nats: the log-odds of every clip are lower by it. 0 if enough clips stay.
    """
    scores = np.array([probability for _, probability in score_clips(Router(network), clean)])
    if float((scores < THRESHOLD).mean()) >= share:
        return 0.0
    scores = np.minimum(scores, _LARGEST_PROBABILITY)
    log_odds = np.quantile(np.log(scores / (1 - scores)), share, method="higher")
    shift = max(0.0, float(log_odds)) + _MARGIN
    last: torch.nn.Linear = network.classifier[-1]  # type: ignore[assignment]
    with torch.no_grad():
        last.bias[1] -= shift
    return shift
