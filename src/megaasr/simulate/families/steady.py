"""Steady noises: hiss, hum, fans, electric machines, radio interference, old records."""

from __future__ import annotations

import numpy as np

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.simulate.families.circular import (
    LENGTH,
    SECONDS,
    Float64Array,
    band_pass,
    curve,
    cycles,
    filtered,
    from_table,
    high_pass,
    low_pass,
    noise,
    random_times_s,
    regular_times_s,
    resonance,
    scattered,
    slope,
    swell,
    wave_table,
    with_events,
)
from megaasr.simulate.families.parameters import chance, log_uniform, log_uniform_count, pick
from megaasr.simulate.families.short_sounds import burst, equal_lengths, ramped, seconds, smoothed


def white(rng: np.random.Generator) -> Float64Array:
    """White noise: equal power at all frequencies."""
    return noise(rng, np.ones(LENGTH // 2 + 1))


def coloured(rng: np.random.Generator) -> Float64Array:
    """Noise whose power falls by 1 to 8 dB per octave: 3 is pink, 6 brown."""
    return noise(rng, slope(rng.uniform(0.17, 1.33), log_uniform(rng, 20, 120)))


def hum(rng: np.random.Generator) -> Float64Array:
    """Mains hum of 50 or 60 Hz with random harmonics, the buzz of a rectifier, and faint hiss."""
    mains_hz = pick(rng, (50.0, 60.0)) + 0.05 * int(rng.integers(-2, 3))
    harmonics = np.arange(1, 1 + int(rng.integers(4, 24)))
    levels = harmonics ** -rng.uniform(0.4, 1.4) * np.exp(0.6 * rng.standard_normal(harmonics.size))
    levels[::2] *= rng.uniform(0.3, 1.0)  # odd harmonics are weaker behind a rectifier
    time = np.arange(LENGTH) / SAMPLE_RATE
    steady = from_table(wave_table(rng, levels / levels.max()), mains_hz * time)
    multiples = np.arange(1, 40)
    rectifier = multiples ** -rng.uniform(0.5, 1.0) * np.exp(-multiples / 10)
    buzz = from_table(wave_table(rng, rectifier), 2 * mains_hz * time)
    sound = steady / steady.std() * swell(rng, 0.08, 0.4)
    sound += rng.uniform(0.02, 0.5) * buzz / buzz.std() * swell(rng, 0.2, 0.5)
    hiss = noise(rng, slope(rng.uniform(0, 0.5)))
    return np.asarray(sound + log_uniform(rng, 0.001, 0.02) * hiss)


def fan(rng: np.random.Generator) -> Float64Array:
    """A fan or air conditioning: a rush with resonances, the tone of the blades, and a motor."""
    gains = slope(rng.uniform(0.3, 1.0), log_uniform(rng, 60, 300)) * low_pass(
        log_uniform(rng, 1200, 7000), rng.uniform(1, 3)
    )
    for _ in range(int(rng.integers(1, 5))):
        peak = rng.uniform(0.5, 4) * resonance(log_uniform(rng, 90, 2500), rng.uniform(0.1, 0.5))
        gains = gains * (1 + peak)
    turns_hz = log_uniform(rng, 8, 45)
    blades = int(rng.integers(3, 10))
    speed = turns_hz * (1 + 0.004 * curve(rng, 0.3))
    phase = cycles(speed)
    wobble = 1 + rng.uniform(0, 0.25) * np.sin(2 * np.pi * phase)
    sound = noise(rng, gains) * wobble * swell(rng, rng.uniform(0.02, 0.12), 0.3)
    count = min(12, int(7000 / (turns_hz * blades)))
    blade_levels = np.arange(1, count + 1) ** -rng.uniform(1, 2)
    tone = from_table(wave_table(rng, blade_levels), blades * phase)
    sound += log_uniform(rng, 0.03, 0.8) * tone / tone.std()
    mains_hz = pick(rng, (100.0, 120.0))
    motor = from_table(
        wave_table(rng, np.arange(1, 8) ** -1.2), mains_hz * np.arange(LENGTH) / SAMPLE_RATE
    )
    return np.asarray(sound + log_uniform(rng, 0.01, 0.3) * motor / motor.std())


def power_tool(rng: np.random.Generator) -> Float64Array:
    """A fast electric motor: vacuum cleaner, drill, mixer, hair dryer; steady or in bursts."""
    motor_hz = log_uniform(rng, 70, 450)
    if chance(rng, 0.45):
        load, speed = np.ones(LENGTH), 1 + rng.uniform(0.002, 0.03) * curve(rng, 0.7)
    else:
        load = _switched(rng, on_s=rng.uniform(0.8, 3), off_s=rng.uniform(0.3, 1.5))
        speed = 0.25 + 0.75 * load + 0.02 * curve(rng, 2)
    phase = cycles(motor_hz * np.maximum(speed, 0.1))
    orders = np.arange(1, int(7500 / (motor_hz * 1.1)) + 1)
    levels = orders ** -rng.uniform(0.4, 1.1) * np.exp(0.7 * rng.standard_normal(orders.size))
    tone = from_table(wave_table(rng, levels), phase)
    commutator = int(rng.integers(6, 24))
    if motor_hz * commutator < 7000:
        tone += rng.uniform(0.1, 0.8) * tone.std() * np.sin(2 * np.pi * commutator * phase)
    gains = band_pass(log_uniform(rng, 200, 900), log_uniform(rng, 2500, 7500), 1)
    gains = gains * (1 + rng.uniform(1, 5) * resonance(log_uniform(rng, 300, 4000), 0.3))
    rush = noise(rng, gains) * (1 + rng.uniform(0, 0.6) * np.sin(2 * np.pi * phase))
    sound = tone / tone.std() + log_uniform(rng, 0.2, 2.5) * rush
    if chance(rng, 0.3):  # a hammer drill
        strokes = from_table(np.exp(-8 * np.linspace(0, 1, 512, endpoint=False)), phase / 8)
        sound *= 0.3 + 2 * strokes
    return np.asarray(sound * load**1.5 + 0.01 * noise(rng, slope(0.5)))


def radio(rng: np.random.Generator) -> Float64Array:
    """A radio between stations: fading static, whistles that drift, crackle and data bursts."""
    low_hz, high_hz = log_uniform(rng, 60, 400), log_uniform(rng, 2500, 6500)
    sound = noise(rng, slope(rng.uniform(0, 0.4))) * swell(rng, rng.uniform(0.05, 0.5), 1.5)
    for _ in range(int(rng.integers(0, 3))):
        centre_hz = log_uniform(rng, 300, 3500)
        frequency = np.clip(centre_hz * np.exp(0.25 * curve(rng, 0.25)), 100, 6500)
        whistle = np.sin(2 * np.pi * cycles(frequency))
        sound += log_uniform(rng, 0.1, 1.2) * whistle * swell(rng, 0.5, 0.5)
    shapes = equal_lengths([burst(rng, 0.012, log_uniform(rng, 0.002, 0.012)) for _ in range(12)])
    times_s = random_times_s(rng, log_uniform(rng, 1, 40))
    gains = np.exp(0.9 * rng.standard_normal(times_s.size)) * rng.uniform(0.5, 3)
    sound += scattered(shapes, times_s, rng.integers(12, size=times_s.size), gains)
    if chance(rng, 0.4):
        sound += rng.uniform(0.3, 1.2) * _data_bursts(rng)
    return filtered(sound, band_pass(low_hz, high_hz, 3))


def crackle(rng: np.random.Generator) -> Float64Array:
    """An old record: clicks of very unequal strength, a pop each turn, hiss and rumble."""
    shapes = equal_lengths([burst(rng, 0.01, log_uniform(rng, 0.001, 0.012)) for _ in range(32)])
    times_s = random_times_s(rng, log_uniform(rng, 6, 120))
    gains = np.exp(rng.uniform(0.4, 0.9) * rng.standard_normal(times_s.size))
    sound = scattered(shapes, times_s, rng.integers(32, size=times_s.size), gains)
    turns = pick(rng, (11, 15, 26))  # in 20 s: 33, 45 and 78 a minute
    if chance(rng, 0.6):
        pops_s = regular_times_s(rng, turns / SECONDS, 0.002)
        pop = rng.uniform(0.5, 2.5) * smoothed(burst(rng, 0.02, 0.02), 3000)
        sound += with_events([pop] * pops_s.size, pops_s)
    sound /= sound.std()
    time = np.arange(LENGTH) / LENGTH
    turning = 1 + rng.uniform(0, 0.4) * np.sin(2 * np.pi * turns * time)
    sound += log_uniform(rng, 0.03, 0.25) * noise(rng, slope(rng.uniform(0, 0.5))) * turning
    sound += log_uniform(rng, 0.01, 0.15) * noise(rng, resonance(rng.uniform(25, 70), 0.4))
    gains_by_age = low_pass(log_uniform(rng, 3500, 8000), 2) * high_pass(25)
    return filtered(sound, gains_by_age)


def _switched(rng: np.random.Generator, *, on_s: float, off_s: float) -> Float64Array:
    """Return a curve [time] between 0 and 1: a machine that is switched on and off."""
    count = max(1, round(SECONDS / (on_s + off_s)))
    period = SECONDS / count
    starts_s = regular_times_s(rng, count / SECONDS, 0.08)
    shares = np.clip(on_s / (on_s + off_s) * np.exp(0.2 * rng.standard_normal(count)), 0.2, 0.85)
    gates = [np.ones(round(share * period * SAMPLE_RATE)) for share in shares]
    gate = np.minimum(with_events(gates, starts_s), 1.0)
    smooth = filtered(gate, low_pass(log_uniform(rng, 1.0, 4.0), 1))
    return np.clip(smooth, 0.0, 1.0)


def _data_bursts(rng: np.random.Generator) -> Float64Array:
    """Return bursts of two tones in turn [time], as of teleprinters and of Morse code."""
    low_hz, high_hz = sorted((log_uniform(rng, 500, 2500), log_uniform(rng, 500, 2500)))
    symbol_s = log_uniform(rng, 0.004, 0.08)
    starts_s = random_times_s(rng, log_uniform(rng, 0.1, 0.6))
    bursts = []
    for _ in starts_s:
        symbols = log_uniform_count(rng, 8, 60)
        bits = rng.random(symbols) < 0.5
        frequency = np.repeat(np.where(bits, high_hz, low_hz), round(symbol_s * SAMPLE_RATE))
        phase = np.cumsum(frequency) / SAMPLE_RATE
        duration = seconds(min(3.0, symbols * symbol_s)).size
        bursts.append(ramped(np.sin(2 * np.pi * phase)[:duration]))
    return with_events(bursts, starts_s)
