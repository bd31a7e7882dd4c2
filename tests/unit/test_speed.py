"""Speed without pitch: what must change (the length) and what must not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from megaasr.audio.waveform import Waveform
from megaasr.errors import UsageError
from megaasr.simulate.simulator import Simulator
from megaasr.simulate.speed import change_speed

RATE = 16_000
FACTORS = [0.5, 0.75, 0.9, 1.01, 1.1, 1.37, 1.5, 2.0]


def single(samples: Any) -> Any:
    return np.asarray(samples, np.float32)


def sine(hertz: float, seconds: float = 2.0) -> Any:
    return single(0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE))


def pulses(hertz: float, seconds: float = 3.0) -> Any:
    """Glottal pulses that ring in two formants: a vowel."""
    time_s = np.arange(400) / RATE
    ring = sum(
        level * np.exp(-np.pi * 90 * time_s) * np.sin(2 * np.pi * formant * time_s)
        for formant, level in ((650, 1.0), (1700, 0.5))
    )
    train = np.zeros(round(seconds * RATE))
    train[np.rint(np.arange(0, train.size - 1, RATE / hertz)).astype(int)] = 1.0
    return single(0.2 * np.convolve(train, ring)[: train.size])


def speech(seconds: float = 4.0) -> Any:
    """A vowel of gliding pitch in syllables, hiss between them, and pauses."""
    time_s = np.arange(round(seconds * RATE)) / RATE
    rng = np.random.default_rng(2)
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * time_s)
    phase = np.cumsum(pitch) / RATE
    voiced = sum(np.sin(2 * np.pi * k * phase) / k for k in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 4 * time_s), 0, 1)
    pause = time_s % 2 < 1.6
    hiss = np.clip(-np.sin(2 * np.pi * 4 * time_s), 0, 1) * rng.standard_normal(time_s.size)
    return single(0.1 * (syllables * voiced + 0.2 * hiss) * pause)


def frequency(samples: Any) -> float:
    """Of the strongest sine, to a hundredth of a bin or so."""
    power = np.abs(np.fft.rfft(samples * np.hanning(samples.size), 8 * samples.size))
    return float(np.argmax(power) * RATE / (8 * samples.size))


def level_db(samples: Any) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("hertz", [70, 155.3, 440, 1000, 3210, 7000])
def test_a_sine_keeps_its_frequency_level_and_smoothness(hertz: float, factor: float) -> None:
    before = sine(hertz)
    after = change_speed(before, factor)
    assert after.dtype == np.float32
    assert after.size == round(before.size / factor)
    assert frequency(after) == pytest.approx(hertz, rel=0.01)
    middle = after[800:-1600]
    assert level_db(middle) == pytest.approx(level_db(before), abs=1.0)
    # No clicks: no jump from sample to sample that the sine does not make itself.
    assert np.abs(np.diff(after[:-400])).max() <= 1.05 * np.abs(np.diff(before)).max()


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("hertz", [80.0, 123.4, 210.0, 300.0])
def test_a_voice_keeps_its_period(hertz: float, factor: float) -> None:
    after = change_speed(pulses(hertz), factor)
    shortest = 20
    periods = []
    for begin in range(1600, after.size - 3200, 800):
        frame = after[begin : begin + 1600].astype(float)
        likeness = np.correlate(frame, frame, "full")[frame.size - 1 + shortest :][:300]
        likeness /= frame.size - shortest - np.arange(likeness.size)
        best = likeness[: round(1.5 * RATE / hertz) - shortest]
        periods.append(shortest + int(np.argmax(best)))
    expected = RATE / hertz
    assert np.median(periods) == pytest.approx(expected, rel=0.01, abs=0.6)
    # Every stretch, not only most: at a joint a period may be out by less than a tenth.
    assert np.mean(np.abs(np.array(periods) - expected) < 0.1 * expected) > 0.97


@pytest.mark.parametrize("factor", FACTORS)
def test_speech_keeps_level_spectrum_and_pauses(factor: float) -> None:
    before = speech()
    after = change_speed(before, factor)
    assert level_db(after) == pytest.approx(level_db(before), abs=1.0)
    assert np.abs(after).max() <= 1.02 * np.abs(before).max()
    assert np.abs(np.diff(after)).max() <= 1.15 * np.abs(np.diff(before)).max()
    # Long-term spectrum in octaves.
    bands = []
    for samples in (before, after):
        power = np.abs(np.fft.rfft(samples)) ** 2 / samples.size
        hertz = np.fft.rfftfreq(samples.size, 1 / RATE)
        bands.append(
            [power[(hertz >= f) & (hertz < 2 * f)].mean() for f in 125 * 2.0 ** np.arange(6)]
        )
    assert 10 * np.log10(bands[1]) == pytest.approx(10 * np.log10(bands[0]), abs=1.5)
    # The pause from 1.6 to 2 s is silent where it should now be, and there only.
    pause = after[round(1.65 * RATE / factor) : round(1.95 * RATE / factor)]
    assert np.abs(pause).max() < 1e-3
    power = np.square(after[: round(1.6 * RATE / factor)]).reshape(-1)
    assert power[-round(0.3 * RATE / factor) :].max() > 1e-3


@pytest.mark.parametrize("factor", [0.5, 0.75, 1.5, 2.0])
def test_everything_happens_in_proportion(factor: float) -> None:
    clicks = np.zeros(4 * RATE)
    positions = np.array([3000, 20_000, 33_333, 50_000])
    rng = np.random.default_rng(1)
    for position in positions:
        clicks[position : position + 800] = rng.standard_normal(800)
    after = change_speed(single(clicks + 1e-4 * rng.standard_normal(clicks.size)), factor)
    loud = np.flatnonzero(np.abs(after) > 0.3)
    begins = loud[np.concatenate([[True], np.diff(loud) > 4000])]
    assert begins.size == positions.size
    # A segment moves by 10 ms at most, and is 40 ms long.
    assert begins == pytest.approx(positions / factor, abs=0.035 * RATE)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("samples", [1, 2, 3, 100, 319, 639, 640, 641, 1000, 2001])
def test_short_inputs(samples: int, factor: float) -> None:
    before = single(np.cos(np.arange(samples) * 0.1))
    after = change_speed(before, factor)
    assert after.shape == (max(1, round(samples / factor)),)
    assert after.dtype == np.float32
    assert np.isfinite(after).all()
    assert np.abs(after).max() <= 1.02
    assert after[0] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("factor", FACTORS)
def test_silence_stays_silent_and_a_constant_constant(factor: float) -> None:
    assert not change_speed(np.zeros(10_000, np.float32), factor).any()
    after = change_speed(np.full(10_000, 0.25, np.float32), factor)
    assert after[:-700] == pytest.approx(np.full(after.size - 700, 0.25), abs=1e-5)


def test_factor_one_returns_the_samples_and_none_changes_them() -> None:
    before = speech(1.0)
    kept = before.copy()
    assert change_speed(before, 1.0) is before
    first, second = change_speed(before, 1.3), change_speed(before, 1.3)
    assert np.array_equal(before, kept)
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("factor", [0.0, 0.49, 2.01, -1.0, float("nan"), float("inf")])
def test_other_speeds_are_refused(factor: float) -> None:
    with pytest.raises(UsageError, match=r"from 0\.5 .*to 2\.0"):
        change_speed(speech(0.1), factor)
    with pytest.raises(UsageError, match="speed"):
        Simulator().draw(seed=1, scenario="noise", speed=factor)
    with pytest.raises(UsageError, match="speed"):
        Simulator().draw(seed=1, scenario="noise", speed_range=(0.75, factor))


def test_a_drawn_speed_is_keyed_and_within_its_range() -> None:
    simulator = Simulator()

    def draw_copy(number: int, **more: Any) -> Any:
        return simulator.draw(seed=1, scenario="dropout", utterance=str(number), **more)

    speeds = [draw_copy(number, speed_range=(0.75, 1.5)).speed for number in range(400)]
    assert min(speeds) >= 0.75
    assert max(speeds) <= 1.5
    assert np.histogram(speeds, bins=5, range=(0.75, 1.5))[0].min() > 50  # of 80 each
    assert draw_copy(3, speed_range=(0.75, 1.5)).speed == speeds[3]
    # It changes nothing else of the draw.
    plain, fast = draw_copy(3), draw_copy(3, speed_range=(0.75, 1.5))
    assert plain.speed == 1.0
    assert fast.model_copy(update={"speed": 1.0}) == plain
    assert draw_copy(3, speed=1.25) == plain.model_copy(update={"speed": 1.25})


def test_the_simulator_changes_the_speed_before_all_else() -> None:
    simulator = Simulator()
    clip = Waveform(speech(2.0), RATE)
    draw = simulator.draw(seed=1, scenario="dropout", severity=0.8, speed=1.25)
    result = simulator.apply(clip, draw)
    assert result.waveform.samples.size == round(clip.samples.size / 1.25)
    faster = Waveform(change_speed(clip.samples, 1.25), RATE)
    again = simulator.apply(faster, draw.model_copy(update={"speed": 1.0}))
    assert again.waveform.samples.tobytes() == result.waveform.samples.tobytes()
