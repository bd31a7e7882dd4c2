"""Nonlinear distortion (overdrive)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from megaasr.audio.waveform import Samples
from megaasr.simulate import kernels
from megaasr.simulate.primitives.primitive import Measurements, Primitive, Resources, mix_in

# tanh(v) = v P(v^2) / Q(v^2) for |v| <= 8.5, fitted by least squares and reweighted until the
# relative error was uniform at -129 dB (-124 dB with float32 arithmetic). Constant term first.
NUMERATOR = np.array(
    [0.999999645, 0.126682961, 0.00265188735, 6.83407318e-06, -5.56915809e-09], np.float32
)
DENOMINATOR = np.array([1.0, 0.460013569, 0.0226599471, 0.000191067884], np.float32)


class NonlinearDistortion(Primitive):
    """y = wet tanh(10^(drive_db / 20) x) + (1 - wet) x, within ±1, without make-up gain.

    Attributes:
        drive_db: gain before the nonlinearity in dB; the paper sweeps 20 to 60.
        wet: share of the distorted signal, 0 to 1.
    """

    primitive: Literal["distortion"] = "distortion"
    drive_db: float = Field(ge=-60, le=100)
    wet: float = Field(1.0, ge=0, le=1)

    def apply(self, x: Samples, resources: Resources) -> Measurements:
        """See `Primitive.apply`."""
        dry = x.copy() if self.wet < 1 else None
        kernels.loops.drive(x, 10 ** (self.drive_db / 20), NUMERATOR, DENOMINATOR)
        if dry is not None:
            mix_in(x, dry, self.wet)
        return {}
