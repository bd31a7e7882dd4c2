"""How well the routers of systems tell a test set's degraded clips from its clean ones."""

from __future__ import annotations

from collections.abc import Sequence

from megaasr.route.accuracy import binary_classification_metrics
from megaasr.route.decision import THRESHOLD
from megaasr.score.result import ScoredClip
from megaasr.score.subsets import CLEAN


def router_metrics(clips: Sequence[ScoredClip]) -> dict[str, dict[str, float]]:
    """Return accuracy, precision, recall, F1 and AUC of each system's router, by system.

    Only clips with a known scenario and a router's probability count. A system whose counted clips
    are all clean or all degraded is left out.
    """
    metrics: dict[str, dict[str, float]] = {}
    for system in clips[0].hypotheses if clips else ():
        simulated = [
            (clip, clip.hypotheses[system].degraded_probability)
            for clip in clips
            if clip.scenario is not None
        ]
        routed = [(clip, probability) for clip, probability in simulated if probability is not None]
        degraded = [clip.scenario != CLEAN for clip, _ in routed]
        if len(set(degraded)) == 2:
            probabilities = [probability for _, probability in routed]
            severities = [clip.severity for clip, _ in routed]
            metrics[system] = {
                "clips": len(routed),
                **binary_classification_metrics(probabilities, degraded, severities, THRESHOLD),
            }
    return metrics
