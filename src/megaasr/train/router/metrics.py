"""How good a router is: as a classifier, on clips hard for it, and by the words it gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.clips import read_clip
from megaasr.errors import AudioError, TrainingError
from megaasr.route.accuracy import binary_classification_metrics
from megaasr.route.decision import THRESHOLD
from megaasr.route.router import Router
from megaasr.train.router.data import GradedPair, LabelledClip
from megaasr.train.router.hard_negatives import HARD

_HARD_CLIPS = 200
_Clip = TypeVar("_Clip", LabelledClip, GradedPair)


def as_classifier(router: Router, clips: Sequence[LabelledClip]) -> dict[str, float]:
    """Return the metrics of `megaasr.route.accuracy.binary_classification_metrics` at threshold
    0.5, and the number of unreadable clips if there are any.

    Args:
        router: to be judged.
        clips: with labels, at least one.

    Raises:
        TrainingError: none can be read.
    """
    known = _judged(router, clips)
    if not known:
        raise TrainingError(f"no clip of dev can be read, such as {clips[0].audio}")
    found = binary_classification_metrics(
        [probability for _, probability in known],
        [one.robust for one, _ in known],
        [one.severity for one, _ in known],
        THRESHOLD,
    )
    unread = len(clips) - len(known)
    return {**found, "unread": unread} if unread else found


def hard_negatives(router: Router, clips: Sequence[LabelledClip], seed: int) -> dict[str, float]:
    """Return the share of clean clips that are taken for clean, made hard in each way.

    Args:
        router: to be judged.
        clips: clean ones; the first 200 are used.
        seed: of what is done to them.
    """
    found: dict[str, float] = {}
    read = [_samples(one.audio) for one in clips[:_HARD_CLIPS]]
    chosen = [one for one in read if one is not None]
    for name, change in HARD.items():
        kept = [
            router.decide(change(samples, np.random.default_rng([seed, 8, at]))).route == "base"
            for at, samples in enumerate(chosen)
        ]
        if kept:
            found[f"accuracy_{name}"] = round(float(np.mean(kept)), 5)
    return found


def routed_words(router: Router, pairs: Sequence[GradedPair]) -> dict[str, float]:
    """Return the error rates that both branches, routing and the oracle give on graded pairs.

    Args:
        router: to be judged.
        pairs: clips whose errors in both branches are known.
    """
    if not pairs:
        return {}
    known = _judged(router, pairs)
    robust = np.array([probability >= THRESHOLD for _, probability in known], np.bool_)
    base_errors = np.array([one.base_errors for one, _ in known])
    robust_errors = np.array([one.robust_errors for one, _ in known])
    words = max(1, sum(one.words for one, _ in known))
    errors = {
        "base": base_errors,
        "robust": robust_errors,
        "routed": np.where(robust, robust_errors, base_errors),
        "oracle": np.minimum(base_errors, robust_errors),
    }
    return {f"wer_{name}": round(float(one.sum()) / words, 5) for name, one in errors.items()}


def _judged(router: Router, clips: Sequence[_Clip]) -> list[tuple[_Clip, float]]:
    """Return the clips that can be read, each with the router's probability."""
    found = []
    for one in clips:
        samples = _samples(one.audio)
        if samples is not None:
            found.append((one, router.decide(samples).degraded_probability or 0.0))
    return found


def _samples(audio: str) -> NDArray[np.float32] | None:
    """Return a clip; None if it cannot be read: one broken file does not end a training."""
    try:
        return read_clip(Path(), audio).samples
    except (AudioError, OSError):
        return None
