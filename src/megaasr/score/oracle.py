"""The oracle: the best of several systems for each clip, an upper bound for routing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from megaasr.score.predictions import Prediction
from megaasr.score.summary import NORMALIZERS
from megaasr.score.test_set import TestClip
from megaasr.text.error_rate import count_errors_of_pairs


def choose_best(
    systems: Sequence[Mapping[str, Prediction]],
    clips: Sequence[TestClip],
    normalizer: str = NORMALIZERS[0],
) -> dict[str, Prediction]:
    """Return, for each clip, the prediction with the fewest errors (headline normaliser).

    Args:
        systems: each system's predictions by clip; on ties, the first system wins.
        clips: the test set.
        normalizer: the headline normaliser, with its version if it is not the latest.
    """
    languages = [clip.language for clip in clips]
    references = [clip.text for clip in clips]
    counts = [
        count_errors_of_pairs(
            references,
            [predictions[clip.id].text for clip in clips],
            languages=languages,
            normalizer=normalizer,
        )
        for predictions in systems
    ]
    best: dict[str, Prediction] = {}
    for index, clip in enumerate(clips):
        errors = [(by_clip[index].errors, system) for system, by_clip in enumerate(counts)]
        prediction = systems[min(errors)[1]][clip.id]
        # No router was involved, and the time would be that of all systems together.
        best[clip.id] = replace(prediction, route=None, degraded_probability=None, seconds=None)
    return best
