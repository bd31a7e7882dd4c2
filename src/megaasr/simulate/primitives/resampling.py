"""Resampling to a lower rate and back."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from megaasr.audio.files import resample
from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.simulate import kernels
from megaasr.simulate.primitives.primitive import Measurements, Primitive, Resources, mix_in

HALF_RATE = SAMPLE_RATE // 2
# The low-pass of soxr's "HQ" for this ratio: a sinc under a Kaiser window, without its far ends
# (below -110 dB of the centre). On white noise the result differs from soxr's by -104 dB.
_CUTOFF_HZ, _BETA, _WINDOW_REACH, _REACH = 3827.4873, 13.03993, 194.4992, 176


class Resampling(Primitive):
    """Resample to `target_rate_hz` and back to 16 kHz, which removes all above half that rate.

    y = wet resampled + (1 - wet) x. A polyphase filter is used for 8 kHz, and soxr for other rates.

    Attributes:
        target_rate_hz: lower rate in Hz, 1000 to 16000; the paper uses 8000.
        wet: share of the resampled signal, 0 to 1.
    """

    primitive: Literal["resample"] = "resample"
    target_rate_hz: int = Field(ge=1000, le=SAMPLE_RATE)
    wet: float = Field(1.0, ge=0, le=1)

    def apply(self, x: Samples, resources: Resources) -> Measurements:
        """See `Primitive.apply`."""
        dry = x.copy() if self.wet < 1 else None
        if self.target_rate_hz == HALF_RATE:
            kernels.loops.half_rate_trip(x, _EVEN, _ODD)
        else:
            low = resample(x, SAMPLE_RATE, self.target_rate_hz)
            back = resample(low, self.target_rate_hz, SAMPLE_RATE)[: len(x)]
            x[: len(back)] = back
            x[len(back) :] = 0.0
        if dry is not None:
            mix_in(x, dry, self.wet)
        return {}


def _taps() -> Samples:
    distance = np.arange(-_REACH, _REACH + 1)
    window = np.i0(_BETA * np.sqrt(1 - (distance / _WINDOW_REACH) ** 2))
    sinc = np.sinc(2 * _CUTOFF_HZ / SAMPLE_RATE * distance) * window
    return np.asarray(sinc / sinc.sum(), dtype=np.float32)


_EVEN, _ODD = _taps()[::2].copy(), _taps()[1::2].copy()
