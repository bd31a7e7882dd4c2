"""What the simulator does to sound, measured with code of its own, for any signal and seed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from bursts import RATE, bursts
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import welch
from sound_measures import integrated_lufs, response_db, speech_power

from megaasr.audio import Waveform
from megaasr.audio.waveform import Samples
from megaasr.simulate.draw import Draw
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

SIMULATOR = Simulator()
moderate = settings(max_examples=60, deadline=None)


class Tape:
    """A noise source of one noise."""

    def __init__(self, samples: NDArray[np.int16]) -> None:
        self.noise = samples

    def samples(self, name: str) -> NDArray[np.int16]:
        assert name == "tape"
        return self.noise


NO_NOISE = Resources(Tape(np.zeros(1, np.int16)))

seeds = st.integers(0, 2**32 - 1)
lengths = st.one_of(st.integers(1, 700), st.integers(701, RATE), st.integers(RATE, 20 * RATE))
severities = st.floats(0, 1)


def applied(
    primitive: Any, x: Samples, resources: Resources = NO_NOISE
) -> tuple[Samples, dict[str, Any]]:
    y = x.copy()
    return y, primitive.apply(y, resources)


@moderate
@given(seeds, lengths, st.sampled_from(("noise", "recording")), severities)
def test_the_noise_lies_where_the_drawn_snr_says(
    seed: int, samples: int, scenario: str, severity: float
) -> None:
    x = bursts(seed, samples)
    draw = SIMULATOR.draw(seed=seed, scenario=scenario, severity=severity)
    noise = next(step for step in draw.steps if isinstance(step, AdditiveNoise))
    y, measurements = applied(noise, x, Resources(SIMULATOR.noise))
    assume("skipped" not in measurements)  # a moment of silence in the noise, under a short clip
    added = float(np.square(y.astype(float) - x).mean())
    assert 10 * math.log10(speech_power(x) / added) == pytest.approx(noise.snr_db, abs=0.1)
    assert noise.snr_db == pytest.approx(10 - 15 * severity)


@moderate
@given(seeds, lengths, st.integers(1, 50_000), st.floats(-20, 40), st.floats(0, 1))
def test_any_noise_is_repeated_to_the_clip(
    seed: int, samples: int, noise_samples: int, snr_db: float, begin: float
) -> None:
    x = bursts(seed, samples)
    rng = np.random.default_rng(seed)
    tape = rng.integers(-9_000, 9_001, noise_samples).astype(np.int16)
    tape[0] = 500  # not silent
    offset = int(begin * (noise_samples - 1))
    noise = AdditiveNoise(condition="noise", source="tape", offset_samples=offset, snr_db=snr_db)
    y, measurements = applied(noise, x, Resources(Tape(tape)))
    expected = tape.astype(float)[np.arange(offset, offset + samples) % noise_samples]
    assume("skipped" not in measurements)
    gain = math.sqrt(speech_power(x) / np.square(expected).mean()) * 10 ** (-snr_db / 20)
    assert np.allclose(y, x + gain * expected, rtol=1e-5, atol=1e-6)


@moderate
@given(seeds, st.integers(6400, 20 * RATE), st.floats(-38, -15), st.booleans())
def test_loudness_is_the_target(seed: int, samples: int, target: float, gentle: bool) -> None:
    x = bursts(seed, samples)
    kind = LoudnessAfterDistortion if gentle else Loudness
    y, measurements = applied(kind(condition="noise", target_lufs=target), x)
    assert measurements["measured_lufs"] == pytest.approx(integrated_lufs(x), abs=0.01)
    if "limited" in measurements:
        assert gentle
        assert np.abs(y).max() == pytest.approx(1.0, abs=1e-6)
        assert integrated_lufs(y) < target
    else:
        assert integrated_lufs(y) == pytest.approx(target, abs=0.1)
        assert not gentle or np.abs(y).max() <= 1 + 1e-6


@moderate
@given(seeds, st.integers(6400, 20 * RATE), st.sampled_from(SCENARIOS[:7]), severities)
def test_single_conditions_end_at_their_loudness(
    seed: int, samples: int, scenario: Scenario, severity: float
) -> None:
    draw = SIMULATOR.draw(seed=seed, scenario=scenario, severity=severity)
    done = SIMULATOR.apply(Waveform(bursts(seed, samples), RATE), draw)
    last = draw.steps[-1]
    assert isinstance(last, Loudness | LoudnessAfterDistortion)
    if not done.clipped_samples and "limited" not in done.measurements[-1]:
        assert integrated_lufs(done.waveform.samples) == pytest.approx(last.target_lufs, abs=0.1)


@moderate
@given(
    st.sampled_from(("lowpass", "highpass")),
    st.floats(20, 7_500),
    st.integers(1, 6),
    st.floats(0, 1),
)
def test_filters_have_the_response_of_first_order_sections(
    kind: str, cutoff: float, repeat: int, position: float
) -> None:
    impulse = np.zeros(60_000, np.float32)
    impulse[0] = 1
    y, _ = applied(
        SpectralFilter(condition="echo", filter_type=kind, cutoff_hz=cutoff, repeat=repeat), impulse
    )
    assert response_db(y, cutoff) == pytest.approx(-3.0103 * repeat, abs=0.05 * repeat)
    # Elsewhere: 6 dB per octave and repeat, on the axis that the bilinear transform bends.
    elsewhere = 10.0 * 790**position
    ratio = math.tan(math.pi * elsewhere / RATE) / math.tan(math.pi * cutoff / RATE)
    expected = -10 * repeat * math.log10(1 + ratio ** (2 if kind == "lowpass" else -2))
    if expected > -70:  # below, it is the rounding of float32 that one measures
        assert response_db(y, elsewhere) == pytest.approx(expected, abs=0.05 * repeat)


@pytest.mark.parametrize(("room", "seconds"), [(0.4, 0.86), (0.6, 1.34), (0.8, 2.4), (0.95, 5.6)])
@pytest.mark.parametrize("damping", [0.5, 0.7, 0.9])
def test_the_reverb_decays_in_its_time(room: float, damping: float, seconds: float) -> None:
    impulse = np.zeros(8 * RATE, np.float32)
    impulse[0] = 1
    reverb = Reverberation(
        condition="echo", room_size=room, damping=damping, wet_level=1, dry_level=0
    )
    y, _ = applied(reverb, impulse)
    left = np.cumsum(np.square(y[::-1].astype(float)))[::-1]
    decay_db = 10 * np.log10(left / left[0])
    part = np.flatnonzero((decay_db < -5) & (decay_db > -35))
    slope = np.polyfit(part / RATE, decay_db[part], 1)[0]
    assert -60 / slope == pytest.approx(seconds, rel=0.1)


@moderate
@given(st.integers(1, 20_000), st.floats(0, 0.9), st.floats(0, 1), lengths, severities)
def test_echoes_come_when_and_as_loud_as_they_should(
    delay: int, feedback: float, mix: float, samples: int, position: float
) -> None:
    x = np.zeros(samples, np.float32)
    click = int(position * (samples - 1))
    x[click] = 0.5
    echo = EchoDelay(condition="echo", delay_s=delay / RATE, feedback=feedback, mix=mix)
    expected = np.zeros(samples)
    expected[click] = 0.5 * (1 - mix)
    for copy, index in enumerate(range(click + delay, samples, delay)):
        expected[index] = 0.5 * mix * feedback**copy
    y, _ = applied(echo, x)
    assert np.allclose(y, expected, rtol=1e-4, atol=1e-7)
    assert not y[expected == 0].any()


@moderate
@given(seeds, lengths, st.floats(0, 1), st.floats(0, 1), st.integers(1, 5))
def test_stutter_copies_or_silences_whole_frames(
    seed: int, samples: int, prob: float, repeat_prob: float, most: int
) -> None:
    x = np.random.default_rng(seed).uniform(0.1, 1, samples).astype(np.float32)
    stutter = FrameStutter(
        condition="dropout",
        frame_ms=20,
        stutter_prob=prob,
        repeat_prob=repeat_prob,
        max_repeats=most,
        key=f"{seed:032x}",
    )
    y, measurements = applied(stutter, x)
    frames = samples // 320
    assert np.array_equal(y[frames * 320 :], x[frames * 320 :])
    if frames < 2:
        assert "skipped" in measurements
        return
    before, after = (z[: frames * 320].reshape(frames, 320) for z in (x, y))
    changed = [k for k in range(frames) if not np.array_equal(before[k], after[k])]
    assert all(np.array_equal(after[k], after[k - 1]) or not after[k].any() for k in changed)
    assert 0 not in changed
    assert len(changed) == measurements["lost_frames"]
    # Runs may adjoin, but none is longer than `most`.
    edges = np.diff([0, *(int(k in changed) for k in range(frames)), 0])
    stretches = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
    assert np.ceil(stretches / most).sum() <= measurements["runs"] <= measurements["lost_frames"]


@moderate
@given(seeds, severities)
def test_stutter_has_the_share_and_lengths_of_runs_that_were_drawn(
    seed: int, severity: float
) -> None:
    stutter = SIMULATOR.draw(seed=seed, scenario="dropout", severity=severity).steps[0]
    assert isinstance(stutter, FrameStutter)
    x = np.random.default_rng(seed).uniform(0.1, 1, 16 * 20_000).astype(np.float32)
    y, measurements = applied(
        stutter.model_copy(update={"frame_ms": 1.0}), x
    )  # more frames, less chance
    p, most, frames = stutter.stutter_prob, stutter.max_repeats, 20_000
    # Runs renew themselves: a wait with the mean (1 - p) / p, then 1..most frames.
    cycle = (1 - p) / p + (most + 1) / 2
    deviation = math.sqrt(frames * ((1 - p) / p**2 + (most**2 - 1) / 12) / cycle**3)
    assert measurements["runs"] == pytest.approx(frames / cycle, abs=6 * deviation)
    mean_length = measurements["lost_frames"] / measurements["runs"]
    assert mean_length == pytest.approx(
        (most + 1) / 2, abs=2 * most / math.sqrt(measurements["runs"])
    )
    # Silence stays silence if repeated, so at least this share of frames sounds.
    silent = 1 - np.count_nonzero(y.reshape(-1, 16).any(axis=1)) / frames
    lost = measurements["lost_frames"] / frames
    assert 0.3 * lost - 0.03 < silent < 0.3 * lost + 0.3 * p * lost + 0.03


@moderate
@given(st.floats(60, 3_600), st.floats(4_050, 7_900), st.floats(0, 6.3))
def test_the_trip_to_8_khz_keeps_below_and_removes_above(
    low: float, high: float, phase: float
) -> None:
    trip = Resampling(condition="recording", target_rate_hz=8_000)
    time = np.arange(RATE) / RATE
    middle = slice(RATE // 4, -RATE // 4)
    kept = np.sin(2 * np.pi * low * time + phase).astype(np.float32)
    y, _ = applied(trip, kept)
    assert np.abs(y - kept)[middle].max() < 0.003  # 0.03 dB
    gone, _ = applied(trip, np.sin(2 * np.pi * high * time + phase).astype(np.float32))
    assert 20 * math.log10(float(np.abs(gone[middle]).max())) < -55


@moderate
@given(seeds)
def test_the_trip_leaves_no_sound_above_4_khz(seed: int) -> None:
    x = (0.1 * np.random.default_rng(seed).standard_normal(5 * RATE)).astype(np.float32)
    y, _ = applied(Resampling(condition="recording", target_rate_hz=8_000), x)
    frequency, power = welch(y.astype(float), RATE, window=("kaiser", 12), nperseg=2048)
    inside = power[(frequency > 100) & (frequency < 3_600)].mean()
    assert 10 * math.log10(power[frequency > 4_050].max() / inside) < -55


@moderate
@given(seeds, lengths, st.floats(20, 60), st.floats(0, 1))
def test_distortion_is_the_hyperbolic_tangent(
    seed: int, samples: int, drive_db: float, wet: float
) -> None:
    x = bursts(seed, samples)
    y, _ = applied(NonlinearDistortion(condition="distortion", drive_db=drive_db, wet=wet), x)
    expected = wet * np.tanh(10 ** (drive_db / 20) * x.astype(float)) + (1 - wet) * x
    assert np.abs(y - expected).max() < 2e-6
    assert np.abs(y).max() <= 1


ODD: dict[str, Samples] = {
    "silence": np.zeros(8_000, np.float32),
    "one sample": np.array([0.3], np.float32),
    "10 ms": bursts(1, 160),
    "constant": np.full(9_600, 0.25, np.float32),
    "full square": np.sign(np.sin(np.arange(12_345) / 9 + 0.1)).astype(np.float32),
    "white noise": np.random.default_rng(1).uniform(-1, 1, 16_000).astype(np.float32),
}


@pytest.mark.parametrize("signal", ODD)
@pytest.mark.parametrize("severity", [0.0, 0.5, 1.0])
def test_every_chain_stands_odd_signals(signal: str, severity: float) -> None:
    x = ODD[signal]
    for number, scenario in enumerate(SCENARIOS):
        draw = SIMULATOR.draw(seed=number, scenario=scenario, severity=severity, utterance=signal)
        done = SIMULATOR.apply(Waveform(x, RATE), draw)
        again = Simulator().apply(Waveform(x, RATE), Draw.from_json(draw.to_json()))
        y = done.waveform.samples
        assert len(y) == len(x)
        assert np.isfinite(y).all()
        assert np.abs(y).max() <= 1
        assert y.tobytes() == again.waveform.samples.tobytes()
        assert (done.clipped_samples, done.measurements) == (
            again.clipped_samples,
            again.measurements,
        )
        if signal == "silence":
            assert not y.any()
    assert np.array_equal(x, ODD[signal])
