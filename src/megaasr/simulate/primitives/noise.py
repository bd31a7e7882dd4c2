"""Additive noise at a signal-to-noise ratio."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field

from megaasr.audio.measure import active_power
from megaasr.audio.waveform import Samples
from megaasr.simulate import kernels
from megaasr.simulate.primitives.primitive import Measurements, Primitive, Resources

FRAME = 320  # 20 ms
SILENT_NOISE = "is silent from sample"
"""Part of the reason of a step whose noise has no sound in the length of the clip."""


class AdditiveNoise(Primitive):
    """y = x + wet * g * noise, with g such that the speech is `snr_db` above the noise.

    The SNR is the power of the speech over that of the added noise in dB; lower is harder. The
    speech is measured at this point of the chain, in its active parts (20 ms frames within 30 dB of
    the 95th-percentile frame). The paper calls the parameter `noise_db`, a relative level of
    unstated sign; the definition here is the usual one.

    Attributes:
        source: name of the noise in the pool, or of a built-in noise such as `builtin:white`.
        offset_samples: first sample of the noise; the noise repeats for the length of the clip.
        snr_db: signal-to-noise ratio in dB; the paper sweeps 10 to -5.
        wet: scale of the noise, 0 to 1.
    """

    primitive: Literal["noise"] = "noise"
    source: str
    offset_samples: int = Field(ge=0)
    snr_db: float = Field(ge=-60, le=100)
    wet: float = Field(1.0, ge=0, le=1)

    def apply(self, x: Samples, resources: Resources) -> Measurements:
        """See `Primitive.apply`; silence has no speech level to scale the noise to, and stays."""
        speech = speech_power(x)
        if speech <= 0:
            return {"skipped": "silence: there is no speech level to set the noise by"}
        noise = resources.noise.samples(self.source)
        offset = self.offset_samples % len(noise)
        power = kernels.loops.noise_sum(len(x), noise, offset) / len(x)
        if power <= 0:
            return {"skipped": f"{self.source} {SILENT_NOISE} {offset} on"}
        gain = math.sqrt(speech / power) * 10 ** (-self.snr_db / 20)
        kernels.loops.add_noise(x, noise, offset, self.wet * gain)
        return {"speech_dbfs": 10 * math.log10(speech)}


def speech_power(x: Samples) -> float:
    """Return the mean square of the active speech; 0.0 for silence.

    The same measure as `audio.measure.active_speech_level_dbfs`.

    Args:
        x: contiguous float32 array [time], 16 kHz mono, at least one sample.
    """
    framed = x[: max(1, len(x) // FRAME) * FRAME]
    frame = min(FRAME, len(framed))
    sums = np.empty(len(framed) // frame)
    kernels.loops.frame_sums(framed, frame, sums)
    return active_power(sums / frame)
