"""Additive noise at a speech-to-noise ratio."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field

from megaasr.audio.measure import active_power
from megaasr.simulate import kernels
from megaasr.simulate.primitives.primitive import Floats, Notes, Primitive, Stage

FRAME = 320  # 20 ms


class AdditiveNoise(Primitive):
    """y = x + wet * g * noise, with g such that the speech is `snr_db` above the noise.

    SNR: power of the speech over that of the noise actually added, in dB; lower is harder. The
    speech is measured where there is speech (20 ms frames within 30 dB of the 95th-percentile
    frame), as it is when the noise is added. The paper calls the parameter `noise_db`, a
    relative level, without its sign; this reading is the field's usual one.

    Attributes:
        source: the noise's name in the pool, or `builtin:white` and the like.
        offset_samples: where in the noise to begin; it is repeated to the clip's length.
        snr_db: dB; the paper sweeps 10 to -5.
        wet: 0..1, scales the noise.
    """

    primitive: Literal["noise"] = "noise"
    source: str
    offset_samples: int = Field(ge=0)
    snr_db: float = Field(ge=-60, le=100)
    wet: float = Field(1.0, ge=0, le=1)

    def apply(self, x: Floats, stage: Stage) -> Notes:
        """See `Primitive.apply`. Silence has no level to set the noise by, and stays silent."""
        speech = speech_power(x)
        if speech <= 0:
            return {"skipped": "silence: there is no speech level to set the noise by"}
        noise = stage.noise.samples(self.source)
        offset = self.offset_samples % len(noise)
        power = kernels.loops.noise_sum(len(x), noise, offset) / len(x)
        if power <= 0:
            return {"skipped": f"{self.source} is silent from sample {offset} on"}
        gain = math.sqrt(speech / power) * 10 ** (-self.snr_db / 20)
        kernels.loops.add_noise(x, noise, offset, self.wet * gain)
        return {"speech_dbfs": 10 * math.log10(speech)}


def speech_power(x: Floats) -> float:
    """Return the mean square of the speech in 16 kHz samples; 0.0 for silence.

    The same measure as `audio.measure.active_speech_level_dbfs`.
    """
    whole = x[: max(1, len(x) // FRAME) * FRAME]
    frame = min(FRAME, len(whole))
    sums = np.empty(len(whole) // frame)
    kernels.loops.frame_sums(whole, frame, sums)
    return active_power(sums / frame)
