"""The speech of another person at the same time."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from megaasr.audio.waveform import Samples
from megaasr.errors import UsageError
from megaasr.simulate import kernels
from megaasr.simulate.primitives.noise import SILENT_NOISE, speech_power
from megaasr.simulate.primitives.primitive import Measurements, Primitive, Resources


class CompetingTalker(Primitive):
    """y = x + g * speech, with g such that the clip is `sir_db` above the other speech.

    Both are measured in their active parts (20 ms frames within 30 dB of the 95th-percentile
    frame), so that pauses of either do not count.

    Attributes:
        source: name of the other speech in the pool of talkers, or of a built-in talker such as
            `builtin:talker-1`.
        offset_samples: first sample of the other speech, which repeats for the length of the clip.
        sir_db: signal-to-interference ratio in dB.
    """

    primitive: Literal["competing_talker"] = "competing_talker"
    source: str
    offset_samples: int = Field(ge=0)
    sir_db: float = Field(ge=-60, le=100)

    def apply(self, x: Samples, resources: Resources) -> Measurements:
        """See `Primitive.apply`; silence has no level to set the other speech by, and stays.

        Raises:
            UsageError: the other speech is missing.
        """
        if resources.talkers is None:
            raise UsageError(f"the draw uses the speech {self.source}, but there are no talkers")
        speech = speech_power(x)
        if speech <= 0:
            return {"skipped": "silence: there is no speech level to set the other speech by"}
        other = resources.talkers.samples(self.source)
        offset = self.offset_samples % len(other)
        power = speech_power(_excerpt(other, offset, len(x)))
        if power <= 0:
            return {"skipped": f"{self.source} {SILENT_NOISE} {offset} on"}
        gain = math.sqrt(speech / power) * 10 ** (-self.sir_db / 20)
        kernels.loops.add_noise(x, other, offset, gain)
        return {"speech_dbfs": 10 * math.log10(speech)}


def _excerpt(other: NDArray[np.int16], offset: int, samples: int) -> Samples:
    """Return the other speech from an offset on, repeated for a number of samples, as float32."""
    excerpt = other[offset : offset + samples]
    if len(excerpt) < samples:
        excerpt = np.concatenate([excerpt, np.resize(other, samples - len(excerpt))])
    return excerpt.astype(np.float32)
