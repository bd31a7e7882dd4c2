"""A noise gate that cuts quiet parts of speech."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field

from megaasr.audio.waveform import Samples
from megaasr.simulate.primitives.frame_gains import FRAME_MS, apply_gains, frame_levels_db
from megaasr.simulate.primitives.noise import speech_power
from megaasr.simulate.primitives.primitive import Measurements, Primitive, Resources


class NoiseGate(Primitive):
    """y = g(t) x, with a gain of 1 while the level is above a threshold, and 0 while it is below.

    The level is the RMS of 5 ms frames. The gate opens linearly within `attack_ms`, stays open for
    `hold_ms` after the last frame above the threshold, and closes linearly within `release_ms`.

    Attributes:
        threshold_db: threshold relative to the level of the clip's active speech, in dB.
        attack_ms: time to open in milliseconds, which takes away the beginnings of words.
        hold_ms: time that the gate stays open below the threshold, in milliseconds.
        release_ms: time to close in milliseconds.
    """

    primitive: Literal["noise_gate"] = "noise_gate"
    threshold_db: float = Field(ge=-80, le=20)
    attack_ms: float = Field(ge=0, le=1000)
    hold_ms: float = Field(ge=0, le=5000)
    release_ms: float = Field(ge=0, le=5000)

    def apply(self, x: Samples, resources: Resources) -> Measurements:
        """See `Primitive.apply`; silence has no speech level to set the threshold by, and stays."""
        speech = speech_power(x)
        if speech <= 0:
            return {"skipped": "silence: there is no speech level to set the threshold by"}
        levels = frame_levels_db(x)
        frames = np.arange(levels.size)
        above = levels > 10 * math.log10(speech) + self.threshold_db
        hold = round(self.hold_ms / FRAME_MS)
        last_above = np.maximum.accumulate(np.where(above, frames, -hold - 1))
        is_open = frames - last_above <= hold
        opening = min(1.0, FRAME_MS / self.attack_ms) if self.attack_ms else 1.0
        closing = min(1.0, FRAME_MS / self.release_ms) if self.release_ms else 1.0
        gain = float(is_open[0])
        gains = np.empty(levels.size)
        for number, opens in enumerate(is_open.tolist()):
            gain = min(1.0, gain + opening) if opens else max(0.0, gain - closing)
            gains[number] = gain
        apply_gains(x, gains)
        closed = float(np.count_nonzero(gains == 0)) / gains.size
        return {"speech_dbfs": 10 * math.log10(speech), "closed_share": round(closed, 4)}
