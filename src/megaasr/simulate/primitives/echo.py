"""Discrete echoes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.simulate import kernels
from megaasr.simulate.primitives.primitive import Floats, Notes, Primitive, Stage


class EchoDelay(Primitive):
    """y = (1 - mix) x + mix w, with w[t] = x[t - D] + feedback w[t - D].

    Copy number k arrives k D later with amplitude mix * feedback^(k-1). What rings on after the
    clip's end is cut.

    Attributes:
        delay_s: D in seconds, rounded down to samples; the paper sweeps 0.1 to 0.3.
        feedback: 0..1 (1 excluded), how much of each copy comes again; 0.3 to 0.5.
        mix: 0..1, the copies' share; 0.2 to 0.3.
    """

    primitive: Literal["echo"] = "echo"
    delay_s: float = Field(ge=1 / SAMPLE_RATE, le=10)
    feedback: float = Field(ge=0, lt=1)
    mix: float = Field(ge=0, le=1)

    def apply(self, x: Floats, stage: Stage) -> Notes:
        """See `Primitive.apply`."""
        # The small term saves 0.1 s from becoming 1599 samples by rounding in binary.
        delay = int(self.delay_s * SAMPLE_RATE + 1e-6)
        kernels.loops.echo(x, delay, self.feedback, self.mix)
        return {}
