"""Discrete echoes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.simulate import kernels
from megaasr.simulate.primitives.primitive import Measurements, Primitive, Resources


class EchoDelay(Primitive):
    """y = (1 - mix) x + mix w, with w[t] = x[t - D] + feedback w[t - D].

    Copy number k arrives k D later with amplitude mix * feedback^(k-1). Echoes beyond the end of
    the clip are cut.

    Attributes:
        delay_s: delay D in seconds, rounded down to whole samples; the paper sweeps 0.1 to 0.3.
        feedback: amplitude of each copy relative to the previous one, 0 to 1 (exclusive); the paper
            sweeps 0.3 to 0.5.
        mix: share of the copies, 0 to 1; the paper sweeps 0.2 to 0.3.
    """

    primitive: Literal["echo"] = "echo"
    delay_s: float = Field(ge=1 / SAMPLE_RATE, le=10)
    feedback: float = Field(ge=0, lt=1)
    mix: float = Field(ge=0, le=1)

    def apply(self, x: Samples, resources: Resources) -> Measurements:
        """See `Primitive.apply`."""
        # Without the small term, binary rounding would make 0.1 s 1599 samples.
        delay = int(self.delay_s * SAMPLE_RATE + 1e-6)
        kernels.loops.echo(x, delay, self.feedback, self.mix)
        return {}
