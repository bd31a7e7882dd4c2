"""Automatic gain control."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field

from megaasr.audio.waveform import Samples
from megaasr.simulate import kernels
from megaasr.simulate.primitives.frame_gains import FRAME_MS, apply_gains, frame_levels_db
from megaasr.simulate.primitives.primitive import Measurements, Primitive, Resources


class GainControl(Primitive):
    """y = g(t) x within ±1, with a gain that draws the level towards `target_dbfs`.

    The level of 5 ms frames is followed exponentially in dB, with the time constant `attack_ms`
    while it rises and `release_ms` while it falls. The gain is the target less that level, at most
    `max_gain_db`. It therefore rises in the pauses of speech, and with it the noise; when speech
    begins again, its first syllable is too loud for the time of the attack, and clipped.

    Attributes:
        target_dbfs: level that the gain aims at, RMS in dBFS.
        max_gain_db: largest gain in dB, 0 to 80.
        attack_ms: time constant for a rising level in milliseconds.
        release_ms: time constant for a falling level in milliseconds.
    """

    primitive: Literal["gain_control"] = "gain_control"
    target_dbfs: float = Field(ge=-60, le=0)
    max_gain_db: float = Field(ge=0, le=80)
    attack_ms: float = Field(gt=0, le=10_000)
    release_ms: float = Field(gt=0, le=60_000)

    def apply(self, x: Samples, resources: Resources) -> Measurements:
        """See `Primitive.apply`."""
        levels = frame_levels_db(x).tolist()
        attack = 1 - math.exp(-FRAME_MS / self.attack_ms)
        release = 1 - math.exp(-FRAME_MS / self.release_ms)
        lowest = self.target_dbfs - self.max_gain_db  # below it, the gain is at its maximum
        followed = max(levels[0], lowest)
        gains = np.empty(len(levels))
        for number, level in enumerate(levels):
            difference = max(level, lowest) - followed
            followed += (attack if difference > 0 else release) * difference
            gains[number] = self.target_dbfs - followed
        apply_gains(x, 10 ** (gains / 20))
        clipped = kernels.loops.scale_and_clip(x, 1.0)
        range_db = float(np.ptp(gains))
        return {"gain_range_db": round(range_db, 1), "limited_samples": clipped}
