"""A steep limit of the frequency band."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.errors import UsageError
from megaasr.simulate.primitives.primitive import Measurements, Primitive, Resources

_STOP_DB = 70.0
_TRANSITION_HZ = 100.0


class BandLimit(Primitive):
    """Removes everything outside of a band, without any shift in time.

    A linear-phase filter (a difference of two sincs under a Kaiser window, 44 ms long): within
    0.1 dB inside the band, -6 dB at its limits, and below -65 dB from 50 Hz beyond them.

    Attributes:
        low_hz: lower limit in Hz; 0 for none.
        high_hz: upper limit in Hz, above the lower one.
    """

    primitive: Literal["band_limit"] = "band_limit"
    low_hz: float = Field(ge=0, le=7000)
    high_hz: float = Field(ge=200, le=8000)

    @model_validator(mode="after")
    def _has_a_band(self) -> Self:
        if self.high_hz - self.low_hz < 2 * _TRANSITION_HZ:
            raise UsageError(
                f"band {self.low_hz:g} to {self.high_hz:g} Hz: it must be at least "
                f"{2 * _TRANSITION_HZ:g} Hz wide"
            )
        return self

    def apply(self, x: Samples, resources: Resources) -> Measurements:
        """See `Primitive.apply`."""
        from scipy.signal import oaconvolve  # slow to import, and rarely used

        taps = _taps(self.low_hz, self.high_hz)
        reach = len(taps) // 2
        x[:] = oaconvolve(x, taps)[reach : reach + len(x)]
        return {}


@lru_cache(maxsize=64)
def _taps(low_hz: float, high_hz: float) -> Samples:
    """Return the response of the filter, float32 array [time] of odd length."""
    # Kaiser's formulas for the length and shape of a window.
    width = 2 * np.pi * _TRANSITION_HZ / SAMPLE_RATE
    reach = round((_STOP_DB - 7.95) / (2.285 * width) / 2)
    time = np.arange(-reach, reach + 1)
    window = np.kaiser(len(time), 0.1102 * (_STOP_DB - 8.7))
    high, low = 2 * min(high_hz, SAMPLE_RATE / 2) / SAMPLE_RATE, 2 * low_hz / SAMPLE_RATE
    response = high * np.sinc(high * time) - low * np.sinc(low * time)
    return np.asarray(response * window, np.float32)
