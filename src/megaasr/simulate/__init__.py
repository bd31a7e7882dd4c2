"""Simulate bad recordings: primitives form conditions, and conditions form scenarios.

    from megaasr.audio import read, write
    from megaasr.simulate import Simulator

    simulator = Simulator()
    draw = simulator.draw(seed=1, scenario="far_field+noise", severity=0.6)
    write("degraded.wav", simulator.apply(read("clean.wav"), draw).waveform)

`Simulator` draws the degradation of a clip and applies it; `corpus` builds data sets. Names are
imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from megaasr.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from megaasr.simulate.draw import Draw
    from megaasr.simulate.noise_pool import NoisePool
    from megaasr.simulate.room_responses import MeasuredRooms
    from megaasr.simulate.scenarios import SCENARIOS, Scenario
    from megaasr.simulate.simulator import Simulated, Simulator

__all__ = [
    "SCENARIOS",
    "Draw",
    "MeasuredRooms",
    "NoisePool",
    "Scenario",
    "Simulated",
    "Simulator",
]

_MODULES = {
    "SCENARIOS": "scenarios",
    "Draw": "draw",
    "MeasuredRooms": "room_responses",
    "NoisePool": "noise_pool",
    "Scenario": "scenarios",
    "Simulated": "simulator",
    "Simulator": "simulator",
}

__getattr__ = lazy_exports(globals(), _MODULES)
