"""The compiled loops and those in numpy and scipy: less than half a 16-bit step apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bursts import RATE, bursts
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from megaasr.audio import Waveform
from megaasr.audio.waveform import Samples
from megaasr.simulate import kernels
from megaasr.simulate.primitives import (
    AdditiveNoise,
    EchoDelay,
    FrameStutter,
    Loudness,
    LoudnessAfterDistortion,
    NonlinearDistortion,
    Resampling,
    Resources,
    Reverberation,
    SpectralFilter,
)
from megaasr.simulate.scenarios import SCENARIOS, Scenario
from megaasr.simulate.simulator import Simulator

HALF_STEP = 0.5 / 32768
pytestmark = pytest.mark.skipif(kernels.name() == "portable", reason="the loops were not compiled")

share = st.floats(0, 1)
seeds = st.integers(0, 2**32 - 1)
lengths = st.one_of(st.integers(1, 700), st.integers(701, RATE), st.integers(RATE, 20 * RATE))
targets = st.floats(-38, -15)
primitives = st.one_of(
    st.builds(
        AdditiveNoise,
        condition=st.just("noise"),
        source=st.just("tape"),
        offset_samples=st.integers(0, 39_999),
        snr_db=st.floats(-5, 10),
        wet=share,
    ),
    st.builds(
        EchoDelay,
        condition=st.just("echo"),
        delay_s=st.floats(1 / RATE, 0.5),
        feedback=st.floats(0, 0.9),
        mix=share,
    ),
    st.builds(
        Reverberation,
        condition=st.just("echo"),
        room_size=share,
        damping=share,
        wet_level=share,
        dry_level=share,
    ),
    st.builds(
        NonlinearDistortion, condition=st.just("distortion"), drive_db=st.floats(0, 60), wet=share
    ),
    st.builds(
        Resampling,
        condition=st.just("recording"),
        target_rate_hz=st.sampled_from((8_000, 11_025)),
        wet=share,
    ),
    st.builds(
        SpectralFilter,
        condition=st.just("echo"),
        filter_type=st.sampled_from(("lowpass", "highpass")),
        cutoff_hz=st.floats(50, 7_500),
        repeat=st.integers(1, 6),
        wet=share,
    ),
    st.builds(Loudness, condition=st.just("noise"), target_lufs=targets),
    st.builds(LoudnessAfterDistortion, condition=st.just("distortion"), target_lufs=targets),
    st.builds(
        FrameStutter,
        condition=st.just("dropout"),
        frame_ms=st.just(20),
        stutter_prob=share,
        repeat_prob=share,
        max_repeats=st.integers(1, 4),
        key=st.just("0f" * 16),
    ),
)


class Tape:
    def samples(self, name: str) -> NDArray[np.int16]:
        assert name == "tape"
        return np.random.default_rng(1).integers(-9_000, 9_001, 40_000).astype(np.int16)


def by(loops: kernels.Loops, primitive: Any, x: Samples) -> tuple[Samples, dict[str, Any]]:
    y = x.copy()
    with kernels.using(loops):
        assert kernels.name() == loops
        return y, primitive.apply(y, Resources(Tape()))


@settings(max_examples=100, deadline=None)
@given(primitives, seeds, lengths)
def test_primitives(primitive: Any, seed: int, samples: int) -> None:
    x = bursts(seed, samples)
    fast, measurements = by("compiled", primitive, x)
    plain, expected = by("portable", primitive, x)
    assert np.abs(fast - plain).max() < HALF_STEP
    assert measurements.keys() == expected.keys()
    for name, value in expected.items():
        assert measurements[name] == (
            pytest.approx(value, abs=1e-3) if isinstance(value, float) else value
        )


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SCENARIOS), st.floats(0, 1), seeds, st.integers(1, 5 * RATE))
def test_chains(scenario: Scenario, severity: float, seed: int, samples: int) -> None:
    clip = Waveform(bursts(seed, samples), RATE)
    simulator = Simulator()
    draw = simulator.draw(seed=seed, scenario=scenario, severity=severity)
    with kernels.using("compiled"):
        fast = simulator.apply(clip, draw)
    with kernels.using("portable"):
        plain = simulator.apply(clip, draw)
    difference = np.abs(fast.waveform.samples - plain.waveform.samples)
    if any(isinstance(step, NonlinearDistortion) for step in draw.steps):
        # Up to a thousand times what was there, where tanh is steep.
        assert np.square(difference).sum() <= 1e-8 * np.square(plain.waveform.samples).sum()
    else:
        assert difference.max() < HALF_STEP


@settings(max_examples=60, deadline=None)
@given(primitives, seeds, st.integers(1, 5 * RATE))
def test_the_width_of_vectors_does_not_change_a_bit(
    primitive: Any, seed: int, samples: int
) -> None:
    loops: Any = kernels.loops
    if not loops.use_width(8):
        pytest.skip("this processor has one width only")
    x = bursts(seed, samples)
    wide, measurements = by("compiled", primitive, x)
    try:
        assert loops.use_width(4)
        narrow, expected = by("compiled", primitive, x)
    finally:
        loops.use_width(8)
    assert wide.tobytes() == narrow.tobytes()
    assert measurements == expected
    assert not loops.use_width(5)
