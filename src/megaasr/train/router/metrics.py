"""Metrics of a router: as a classifier, on hard clean clips, and by the error rates it yields."""

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
from megaasr.train.router.hard_negatives import HARD_NEGATIVES

_MAX_HARD_CLIPS = 200
_Clip = TypeVar("_Clip", LabelledClip, GradedPair)


def classification_metrics(router: Router, clips: Sequence[LabelledClip]) -> dict[str, float]:
    """Return the metrics of `route.accuracy.binary_classification_metrics` at threshold 0.5.

    `unread` is the number of clips that could not be read; it is left out if it is 0.

    Args:
        router: router to evaluate.
        clips: labelled clips, at least one.

    Raises:
        TrainingError: no clip can be read.
    """
    scored = score_clips(router, clips)
    if not scored:
        raise TrainingError(f"no clip of dev can be read, such as {clips[0].audio}")
    metrics = binary_classification_metrics(
        [probability for _, probability in scored],
        [clip.robust for clip, _ in scored],
        [clip.severity for clip, _ in scored],
        THRESHOLD,
    )
    unread = len(clips) - len(scored)
    return {**metrics, "unread": unread} if unread else metrics


def hard_negative_accuracy(
    router: Router, clips: Sequence[LabelledClip], seed: int
) -> dict[str, float]:
    """Return the share of clean clips that stay with the base, made hard in each way.

    Args:
        router: router to evaluate.
        clips: clean clips; the first 200 are used.
        seed: seed of the changes to the clips.
    """
    waveforms = [_read_samples(clip.audio) for clip in clips[:_MAX_HARD_CLIPS]]
    readable = [samples for samples in waveforms if samples is not None]
    metrics: dict[str, float] = {}
    for name, make_hard in HARD_NEGATIVES.items():
        is_base = [
            router.decide(make_hard(samples, np.random.default_rng([seed, 8, index]))).route
            == "base"
            for index, samples in enumerate(readable)
        ]
        if is_base:
            metrics[f"accuracy_{name}"] = round(float(np.mean(is_base)), 5)
    return metrics


def routed_error_rates(router: Router, pairs: Sequence[GradedPair]) -> dict[str, float]:
    """Return the word error rates of both branches, of routing and of the oracle.

    `regret_SCENARIO` is the error rate of routing minus that of the better branch, over the clips
    of one scenario.

    Args:
        router: router to evaluate.
        pairs: clips that were graded with both branches.
    """
    if not pairs:
        return {}
    scored = score_clips(router, pairs)
    errors = _errors_by_choice(scored)
    words = max(1, sum(pair.words for pair, _ in scored))
    rates = {f"wer_{name}": round(count / words, 5) for name, count in errors.items()}
    for scenario in sorted({pair.scenario for pair, _ in scored} - {""}):
        clips = [(pair, score) for pair, score in scored if pair.scenario == scenario]
        of_scenario = _errors_by_choice(clips)
        excess = of_scenario["routed"] - min(of_scenario["base"], of_scenario["robust"])
        words = max(1, sum(pair.words for pair, _ in clips))
        rates[f"regret_{scenario}"] = round(excess / words, 5)
    return rates


def _errors_by_choice(scored: Sequence[tuple[GradedPair, float]]) -> dict[str, int]:
    """Return the errors over all clips, by how the branch of a clip is chosen."""
    return {
        "base": sum(pair.base_errors for pair, _ in scored),
        "robust": sum(pair.robust_errors for pair, _ in scored),
        "routed": sum(
            pair.robust_errors if probability >= THRESHOLD else pair.base_errors
            for pair, probability in scored
        ),
        "oracle": sum(min(pair.base_errors, pair.robust_errors) for pair, _ in scored),
    }


def score_clips(router: Router, clips: Sequence[_Clip]) -> list[tuple[_Clip, float]]:
    """Return the clips that can be read, each with the router's probability of `robust`, 0..1."""
    scored = []
    for clip in clips:
        samples = _read_samples(clip.audio)
        if samples is not None:
            scored.append((clip, router.decide(samples).degraded_probability or 0.0))
    return scored


def _read_samples(audio: str) -> NDArray[np.float32] | None:
    """Return the samples of a clip; None if it cannot be read: training goes on without it."""
    try:
        return read_clip(Path(), audio).samples
    except (AudioError, OSError):
        return None
