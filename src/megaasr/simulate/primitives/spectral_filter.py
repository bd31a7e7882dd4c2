"""Spectral filter: first-order low-pass or high-pass, repeated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.simulate import kernels
from megaasr.simulate.primitives.primitive import Floats, Notes, Primitive, Stage, mix_in

MOST_SECTIONS = 32


class SpectralFilter(Primitive):
    """`repeat` first-order filters (bilinear transform) in a row, 6 dB per octave each.

    n = tan(pi cutoff_hz / 16000), a = (n - 1) / (n + 1);
    low-pass y[t] = n / (1 + n) (x[t] + x[t-1]) - a y[t-1],
    high-pass y[t] = (x[t] - x[t-1]) / (1 + n) - a y[t-1].
    Each is down 3.01 dB at the cutoff. y = wet filtered + (1 - wet) x.

    Attributes:
        filter_type: `lowpass` or `highpass`.
        cutoff_hz: 10..7900 Hz.
        repeat: 1..16.
        wet: 0..1, share of the filtered signal.
    """

    primitive: Literal["filter"] = "filter"
    filter_type: Literal["lowpass", "highpass"]
    cutoff_hz: float = Field(ge=10, le=7900)
    repeat: int = Field(1, ge=1, le=16)
    wet: float = Field(1.0, ge=0, le=1)

    def apply(self, x: Floats, stage: Stage) -> Notes:
        """See `Primitive.apply`."""
        dry = x.copy() if self.wet < 1 else None
        apply_cascade(x, [self])
        if dry is not None:
            mix_in(x, dry, self.wet)
        return {}


def apply_cascade(x: Floats, filters: Sequence[SpectralFilter]) -> None:
    """Apply filters with wet 1 in one pass over the samples; at most 32 sections in all."""
    zeros: list[float] = []
    poles: list[float] = []
    gain = 1.0
    warm_up = 0.0
    for one in filters:
        n = math.tan(math.pi * one.cutoff_hz / SAMPLE_RATE)
        pole = (n - 1) / (n + 1)
        low = one.filter_type == "lowpass"
        zeros += [1.0 if low else -1.0] * one.repeat
        poles += [pole] * one.repeat
        gain *= ((n if low else 1.0) / (1 + n)) ** one.repeat
        warm_up += _memory(abs(pole), one.repeat)
    kernels.loops.first_order_sections(
        x, np.array(zeros, np.float32), np.array(poles, np.float32), gain, math.ceil(warm_up)
    )


def _memory(pole: float, repeat: int) -> float:
    """Return after how many samples `repeat` equal poles have forgotten all but -150 dB."""
    if pole < 1e-6:
        return repeat + 1.0
    # t^(repeat-1) pole^t / (repeat-1)!, solved by iteration.
    needed = samples = math.log(3e-8) / math.log(pole)
    for _ in range(4):
        growth = (repeat - 1) * math.log(max(samples * (1 - pole), 1.0))
        growth -= math.lgamma(repeat)
        samples = needed - max(0.0, growth) / math.log(pole)
    return samples + repeat
