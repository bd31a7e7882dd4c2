"""Spectral filter: a cascade of first-order low-passes or high-passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.simulate import kernels
from megaasr.simulate.primitives.primitive import Measurements, Primitive, Resources, mix_in

MAX_SECTIONS = 32
"""Maximum number of first-order sections in one cascade."""


class SpectralFilter(Primitive):
    """A cascade of `repeat` first-order filters (bilinear transform) of 6 dB per octave each.

    n = tan(pi cutoff_hz / 16000), a = (n - 1) / (n + 1);
    low-pass y[t] = n / (1 + n) (x[t] + x[t-1]) - a y[t-1],
    high-pass y[t] = (x[t] - x[t-1]) / (1 + n) - a y[t-1].
    Each filter attenuates the cutoff by 3.01 dB. y = wet filtered + (1 - wet) x.

    Attributes:
        filter_type: `lowpass` or `highpass`.
        cutoff_hz: cutoff frequency in Hz, 10 to 7900.
        repeat: number of filters in the cascade, 1 to 16.
        wet: share of the filtered signal, 0 to 1.
    """

    primitive: Literal["filter"] = "filter"
    filter_type: Literal["lowpass", "highpass"]
    cutoff_hz: float = Field(ge=10, le=7900)
    repeat: int = Field(1, ge=1, le=16)
    wet: float = Field(1.0, ge=0, le=1)

    def apply(self, x: Samples, resources: Resources) -> Measurements:
        """See `Primitive.apply`."""
        dry = x.copy() if self.wet < 1 else None
        apply_cascade(x, [self])
        if dry is not None:
            mix_in(x, dry, self.wet)
        return {}


def apply_cascade(x: Samples, filters: Sequence[SpectralFilter]) -> None:
    """Apply filters to samples in place, in one pass.

    Args:
        x: contiguous float32 array [time], 16 kHz mono.
        filters: filters with wet 1 and at most 32 sections in total.
    """
    zeros: list[float] = []
    poles: list[float] = []
    gain = 1.0
    warm_up = 0.0
    for filter_ in filters:
        n = math.tan(math.pi * filter_.cutoff_hz / SAMPLE_RATE)
        pole = (n - 1) / (n + 1)
        low = filter_.filter_type == "lowpass"
        zeros += [1.0 if low else -1.0] * filter_.repeat
        poles += [pole] * filter_.repeat
        gain *= ((n if low else 1.0) / (1 + n)) ** filter_.repeat
        warm_up += _memory_samples(abs(pole), filter_.repeat)
    kernels.loops.first_order_sections(
        x, np.array(zeros, np.float32), np.array(poles, np.float32), gain, math.ceil(warm_up)
    )


def _memory_samples(pole: float, repeat: int) -> float:
    """Return the number of samples after which `repeat` equal poles have decayed by 150 dB."""
    if pole < 1e-6:
        return repeat + 1.0
    # t^(repeat-1) pole^t / (repeat-1)!, solved by iteration.
    needed = samples = math.log(3e-8) / math.log(pole)
    for _ in range(4):
        growth = (repeat - 1) * math.log(max(samples * (1 - pole), 1.0))
        growth -= math.lgamma(repeat)
        samples = needed - max(0.0, growth) / math.log(pole)
    return samples + repeat
