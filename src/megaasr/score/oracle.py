"""The oracle: of several systems the one that was right, for each clip. What routing could give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from megaasr.score.predictions import Prediction
from megaasr.score.summary import NORMALIZERS
from megaasr.score.test_set import TestClip
from megaasr.text.error_rate import count_errors_of_pairs


def best_of(
    said: Sequence[Mapping[str, Prediction]], clips: Sequence[TestClip]
) -> dict[str, Prediction]:
    """Return the prediction with the fewest errors (headline normaliser) for each clip.

    Args:
        said: predictions by clip, of each system; the first wins where several are equal.
        clips: the test set.
    """
    languages = [clip.language for clip in clips]
    references = [clip.text for clip in clips]
    counts = [
        count_errors_of_pairs(
            references,
            [answers[clip.id].text for clip in clips],
            languages=languages,
            normalizer=NORMALIZERS[0],
        )
        for answers in said
    ]
    best: dict[str, Prediction] = {}
    for at, clip in enumerate(clips):
        errors = [(one[at].errors, which) for which, one in enumerate(counts)]
        chosen = said[min(errors)[1]][clip.id]
        # Nobody asked a router, and it took the time of all.
        best[clip.id] = replace(chosen, route=None, degraded_probability=None, seconds=None)
    return best
