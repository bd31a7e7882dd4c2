"""Resampling: down to a lower rate and back."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from megaasr.audio.files import resample
from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.simulate import kernels
from megaasr.simulate.primitives.primitive import Floats, Notes, Primitive, Stage, mix_in

HALF_RATE = SAMPLE_RATE // 2
# The low-pass of soxr's "HQ" for this ratio: a sinc under a Kaiser window, whose far ends (below
# -110 dB of the centre) are left out. There and back it is 104 dB from soxr on white noise.
_CUTOFF_HZ, _BETA, _WINDOW_REACH, _REACH = 3827.4873, 13.03993, 194.4992, 176


class Resampling(Primitive):
    """Down to `target_rate_hz` and back to 16 kHz: what lies above half of it is gone.

    y = wet resampled + (1 - wet) x. 8 kHz is done by one polyphase filter, other rates by soxr.

    Attributes:
        target_rate_hz: 1000..16000 Hz; the paper uses 8000.
        wet: 0..1, share of the resampled signal.
    """

    primitive: Literal["resample"] = "resample"
    target_rate_hz: int = Field(ge=1000, le=SAMPLE_RATE)
    wet: float = Field(1.0, ge=0, le=1)

    def apply(self, x: Floats, stage: Stage) -> Notes:
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


def _taps() -> Floats:
    distance = np.arange(-_REACH, _REACH + 1)
    window = np.i0(_BETA * np.sqrt(1 - (distance / _WINDOW_REACH) ** 2))
    sinc = np.sinc(2 * _CUTOFF_HZ / SAMPLE_RATE * distance) * window
    return np.asarray(sinc / sinc.sum(), dtype=np.float32)


_EVEN, _ODD = _taps()[::2].copy(), _taps()[1::2].copy()
