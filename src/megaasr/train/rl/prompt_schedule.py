"""The order of the clips in policy optimisation: a function of the seed and the position alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from megaasr.errors import TrainingError
from megaasr.train.clips import Clip
from megaasr.train.rl.recipe import SubsampleRule


class PromptSchedule:
    """An endless order of clips: easy clips are subsampled, and each pass has a new order.

    Args:
        clips: clips, graded by the starting model.
        rules: shares of the clips to keep, by error rate.
        seed: seed of the subsampling and of the orders.

    Raises:
        TrainingError: clips are not graded, or none is kept.
    """

    def __init__(self, clips: Sequence[Clip], rules: Sequence[SubsampleRule], seed: int) -> None:
        if any(clip.error_rate is None for clip in clips):
            raise TrainingError(
                "the data set is not graded, so that easy clips cannot be subsampled; run "
                "mega-asr grade on it"
            )
        uniforms = np.random.default_rng([seed, 0]).random(len(clips)).tolist()
        self.clips = [
            clip
            for clip, uniform in zip(clips, uniforms, strict=True)
            if uniform < _kept_share(clip, rules)
        ]
        if not self.clips:
            raise TrainingError("no clip is left after easy clips were subsampled (thin)")
        self._seed = seed
        self._pass: tuple[int, list[int]] = (-1, [])

    def __call__(self, position: int) -> Clip:
        """Return the clip at a position, counted from 0 without end."""
        number, index = divmod(position, len(self.clips))
        if self._pass[0] != number:
            order = np.random.default_rng([self._seed, 1 + number]).permutation(len(self.clips))
            self._pass = (number, order.tolist())
        return self.clips[self._pass[1][index]]


def _kept_share(clip: Clip, rules: Sequence[SubsampleRule]) -> float:
    error_rate = clip.error_rate or 0.0
    return next((rule.keep for rule in rules if error_rate < rule.below), 1.0)
