"""Which clip comes when in policy optimisation: a function of the seed and the position alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from megaasr.errors import TrainingError
from megaasr.train.clips import Clip
from megaasr.train.rl.recipe import ThinRule


class PromptSchedule:
    """An endless order of clips: easy ones thinned out, each pass in a new order.

    Args:
        clips: graded by the starting model.
        thin: share of the clips to keep, by error rate.
        seed: of the choice and of the orders.

    Raises:
        TrainingError: clips are not graded, or none is kept.
    """

    def __init__(self, clips: Sequence[Clip], thin: Sequence[ThinRule], seed: int) -> None:
        if any(clip.error_rate is None for clip in clips):
            raise TrainingError(
                "the data set is not graded, so that easy clips cannot be thinned out; run "
                "mega-asr grade on it"
            )
        drawn = np.random.default_rng([seed, 0]).random(len(clips))
        self.clips = [
            clip for clip, at in zip(clips, drawn.tolist(), strict=True) if at < _share(clip, thin)
        ]
        if not self.clips:
            raise TrainingError("no clip is left after thinning out the easy ones")
        self._seed = seed
        self._pass: tuple[int, list[int]] = (-1, [])

    def __call__(self, position: int) -> Clip:
        """Return the clip at a position, counted from 0 without end."""
        number, at = divmod(position, len(self.clips))
        if self._pass[0] != number:
            order = np.random.default_rng([self._seed, 1 + number]).permutation(len(self.clips))
            self._pass = (number, order.tolist())
        return self.clips[self._pass[1][at]]


def _share(clip: Clip, thin: Sequence[ThinRule]) -> float:
    rate = clip.error_rate or 0.0
    return next((rule.keep for rule in thin if rate < rule.below), 1.0)
