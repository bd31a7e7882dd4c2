"""How well the routers of systems tell a test set's degraded clips from its clean ones."""

from __future__ import annotations

from collections.abc import Sequence

from megaasr.route.accuracy import classification
from megaasr.route.decision import THRESHOLD
from megaasr.score.result import Clip
from megaasr.score.subsets import CLEAN


def routing(clips: Sequence[Clip]) -> dict[str, dict[str, float]]:
    """Return accuracy, precision, recall, F1 and AUC of every system with a router, by its name.

    Counted are clips of a known scenario that the router was asked about. A system that was asked
    about clips of one kind only is left out.
    """
    found: dict[str, dict[str, float]] = {}
    for system in clips[0].hypotheses if clips else ():
        asked = [
            (clip, clip.hypotheses[system].degraded_probability)
            for clip in clips
            if clip.scenario is not None
        ]
        heard = [(clip, score) for clip, score in asked if score is not None]
        labels = [clip.scenario != CLEAN for clip, _ in heard]
        if len(set(labels)) == 2:
            scores, severities = [one for _, one in heard], [clip.severity for clip, _ in heard]
            measures = classification(scores, labels, severities, THRESHOLD)
            found[system] = {"clips": len(heard), **measures}
    return found
