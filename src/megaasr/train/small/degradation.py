"""Degradation of single clips by the simulator, for the stages of `small`."""

from __future__ import annotations

from dataclasses import dataclass

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.simulate.simulator import Simulator


@dataclass(frozen=True, slots=True)
class Degradation:
    """A degradation, the same for equal clips.

    Attributes:
        scenario: name of the scenario.
        severity: severity, 0..1.
        seed: seed of its random choices.
    """

    scenario: str
    severity: float
    seed: int = 0

    def apply(self, samples: Samples, clip: str) -> Samples:
        """Return the degraded clip, float32 of shape [time], 16 kHz mono.

        Args:
            samples: audio, float32 of shape [time], 16 kHz mono.
            clip: id of the clip, which keys the random choices.

        Raises:
            UsageError: the scenario does not exist.
        """
        simulator = Simulator()
        draw = simulator.draw(
            seed=self.seed, scenario=self.scenario, severity=self.severity, utterance=clip
        )
        return simulator.apply((samples, SAMPLE_RATE), draw).waveform.samples
