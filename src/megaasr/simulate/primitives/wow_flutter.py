"""Wow and flutter: a playback speed that is not steady."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from megaasr.audio.files import resample
from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.simulate.primitives.primitive import Measurements, Primitive, Resources

Float64Array = NDArray[np.float64]
_OVERSAMPLING = 4  # so that a cubic interpolates up to 8 kHz


class WowFlutter(Primitive):
    """y(t) = x(t + d(t)), where the speed 1 + d'(t) swings slowly (wow) and fast (flutter).

    d is the sum of two sines, so that nothing moves by more than
    wow_depth / (2 pi wow_hz) + flutter_depth / (2 pi flutter_hz) seconds, and the length is kept.
    The pitch swings with the speed.

    Attributes:
        wow_hz: frequency of the slow swing in Hz.
        wow_depth: largest change of the speed by the slow swing, 0.01 for 1 %.
        wow_phase: phase of the slow swing at the start, in cycles from 0 to 1.
        flutter_hz: frequency of the fast swing in Hz.
        flutter_depth: largest change of the speed by the fast swing.
        flutter_phase: phase of the fast swing at the start, in cycles from 0 to 1.
    """

    primitive: Literal["wow_flutter"] = "wow_flutter"
    wow_hz: float = Field(ge=0.1, le=6)
    wow_depth: float = Field(ge=0, le=0.3)
    wow_phase: float = Field(ge=0, le=1)
    flutter_hz: float = Field(ge=6, le=200)
    flutter_depth: float = Field(ge=0, le=0.3)
    flutter_phase: float = Field(ge=0, le=1)

    def apply(self, x: Samples, resources: Resources) -> Measurements:
        """See `Primitive.apply`."""
        if len(x) < 2:
            return {"skipped": "shorter than two samples"}
        time = np.arange(len(x), dtype=np.float64)
        shift = _swing(time, self.wow_hz, self.wow_depth, self.wow_phase)
        shift += _swing(time, self.flutter_hz, self.flutter_depth, self.flutter_phase)
        x[:] = _read(x, np.clip(time + shift, 0, len(x) - 1))
        return {"max_shift_ms": round(1000 / SAMPLE_RATE * float(np.abs(shift).max()), 2)}


def _swing(time: Float64Array, frequency_hz: float, depth: float, phase: float) -> Float64Array:
    """Return the shift in samples [time] that changes the speed by up to `depth`."""
    per_sample = 2 * math.pi * frequency_hz / SAMPLE_RATE
    return np.asarray(depth / per_sample * np.sin(per_sample * time + 2 * math.pi * phase))


def _read(x: Samples, positions: Float64Array) -> Samples:
    """Return x at fractional positions, by cubic interpolation after oversampling."""
    fine = resample(x, SAMPLE_RATE, _OVERSAMPLING * SAMPLE_RATE)
    fine = np.pad(fine, (1, max(0, _OVERSAMPLING * len(x) - len(fine)) + 2), mode="edge")
    scaled = positions * _OVERSAMPLING
    left = scaled.astype(np.int64)
    t = (scaled - left).astype(np.float32)
    before, here, after, second = (fine[left + number] for number in range(4))
    # The cubic through four points (Lagrange), at -1, 0, 1 and 2.
    third = (second - before) / 6 + (here - after) / 2
    square = (before + after) / 2 - here
    slope = after - before / 3 - here / 2 - second / 6
    return np.asarray(((third * t + square) * t + slope) * t + here, np.float32)
