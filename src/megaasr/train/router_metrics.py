"""How good a router is: as a classifier, on clips hard for it, and by the words it gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.clips import read_clip
from megaasr.errors import AudioError, TrainingError
from megaasr.route.accuracy import classification
from megaasr.route.decision import THRESHOLD
from megaasr.route.router import Router
from megaasr.train.hard_negatives import HARD
from megaasr.train.router_data import GradedPair, LabelledClip

_HARD_CLIPS = 200


def as_classifier(router: Router, clips: Sequence[LabelledClip]) -> dict[str, float]:
    """Return the measures of `route.accuracy.classification` at threshold 0.5, and how many clips
    could not be read, if there are such.

    Args:
        router: to be judged.
        clips: with labels, at least one.

    Raises:
        TrainingError: none can be read.
    """
    known = [(one, p) for one in clips if (p := _probability(router, one.audio)) is not None]
    if not known:
        raise TrainingError(f"no clip of dev can be read, such as {clips[0].audio}")
    found = classification(
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
    said = [(one, _probability(router, one.audio)) for one in pairs]
    pairs = [one for one, probability in said if probability is not None]
    robust = np.array([p >= THRESHOLD for _, p in said if p is not None], np.bool_)
    base_errors = np.array([one.base_errors for one in pairs])
    robust_errors = np.array([one.robust_errors for one in pairs])
    words = max(1, sum(one.words for one in pairs))
    errors = {
        "base": base_errors,
        "robust": robust_errors,
        "routed": np.where(robust, robust_errors, base_errors),
        "oracle": np.minimum(base_errors, robust_errors),
    }
    return {f"wer_{name}": round(float(one.sum()) / words, 5) for name, one in errors.items()}


def _probability(router: Router, audio: str) -> float | None:
    samples = _samples(audio)
    return None if samples is None else router.decide(samples).degraded_probability


def _samples(audio: str) -> NDArray[np.float32] | None:
    """Return a clip; None if it cannot be read: one broken file does not end a training."""
    try:
        return read_clip(Path(), audio).samples
    except (AudioError, OSError):
        return None
