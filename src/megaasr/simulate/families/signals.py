"""Signals: beeps, sirens, telephones, bells."""

from __future__ import annotations

import numpy as np

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.simulate.families.circular import (
    LENGTH,
    SECONDS,
    Float64Array,
    cycles,
    filtered,
    from_table,
    in_room,
    low_pass,
    noise,
    regular_times_s,
    slope,
    swell,
    wave_table,
    with_events,
)
from megaasr.simulate.families.parameters import chance, log_uniform, log_uniform_count, pick
from megaasr.simulate.families.short_sounds import ramped, random_modes, seconds, struck

_BELL_RATIOS = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.5, 2.67, 3.0, 4.0])
"""Partials of a church bell relative to its prime: hum, prime, tierce, quint, nominal, ...

Source: Fletcher and Rossing, The Physics of Musical Instruments, on bells.
"""


def alarm(rng: np.random.Generator) -> Float64Array:
    """Beeps of an alarm clock, an appliance, a smoke detector or a reversing lorry."""
    pitch_hz = log_uniform(rng, 600, 3600)
    second_hz = pitch_hz * rng.uniform(1.1, 1.6) if chance(rng, 0.3) else pitch_hz
    highest = max(pitch_hz, min(second_hz, 5000.0))
    harmonics = np.arange(1, int(7500 / highest) + 1)
    odd_only = chance(rng, 0.5)
    levels = harmonics ** -rng.uniform(0.8, 2.5) * np.where(odd_only & (harmonics % 2 == 0), 0.1, 1)
    table = wave_table(rng, levels)
    beep_s = log_uniform(rng, 0.05, 0.6)
    gap_s = beep_s * log_uniform(rng, 0.4, 1.5)
    beeps = int(rng.integers(1, 6))
    pause_s = log_uniform(rng, 0.1, 1.5)
    time = seconds(beep_s)
    tones = [ramped(from_table(table, hz * time)) for hz in (pitch_hz, min(second_hz, 5000.0))]
    sounds, starts_s = [], []
    for group_s in regular_times_s(rng, 1 / (beeps * (beep_s + gap_s) + pause_s), 0):
        for number in range(beeps):
            sounds.append(tones[number % 2])
            starts_s.append(float(group_s) + number * (beep_s + gap_s))
    return _at_a_distance(rng, with_events(sounds, starts_s))


def siren(rng: np.random.Generator) -> Float64Array:
    """A siren that wails, yelps or changes between two tones, nearer and farther."""
    low_hz = log_uniform(rng, 350, 800)
    ratio = rng.uniform(1.5, 2.6)
    kind = pick(rng, ("wail", "wail", "yelp", "two tones"))
    period_s = {"wail": rng.uniform(2.5, 8), "yelp": rng.uniform(0.2, 0.45)}.get(
        kind, rng.uniform(0.9, 2.0)
    )
    turns = max(2, round(SECONDS / period_s))
    position = (np.arange(LENGTH) / LENGTH * turns + rng.random()) % 1.0
    if kind == "two tones":
        height = filtered((position < 0.5).astype(np.float64), low_pass(60, 1))
        ratio = rng.uniform(1.25, 1.5)
    else:
        rise = rng.uniform(0.3, 0.6)
        height = np.where(position < rise, position / rise, (1 - position) / (1 - rise))
        height = np.sin(0.5 * np.pi * height) ** rng.uniform(0.8, 1.6)
    passing = 1 + 0.03 * np.sin(2 * np.pi * (np.arange(LENGTH) / LENGTH + rng.random()))
    frequency = low_hz * ratio ** np.clip(height, 0, 1) * passing
    harmonics = np.arange(1, int(7500 / frequency.max()) + 1)
    table = wave_table(rng, harmonics ** -rng.uniform(0.8, 1.8))
    sound = from_table(table, cycles(frequency)) * swell(rng, rng.uniform(0.2, 0.7), 0.15)
    return _at_a_distance(rng, sound)


def telephone(rng: np.random.Generator) -> Float64Array:
    """A telephone that rings: a bell, an electronic trill, or vibration on a table."""
    ring_s = log_uniform(rng, 0.6, 2.0)
    pause_s = log_uniform(rng, 0.5, 2.5)
    kind = pick(rng, ("bell", "trill", "trill", "vibration"))
    if kind == "bell":
        ring = _bell_ring(rng, ring_s)
    elif kind == "trill":
        ring = _trill(rng, ring_s)
    else:
        ring = _vibration(rng, ring_s)
    starts_s = regular_times_s(rng, 1 / (ring_s + pause_s), 0)
    return _at_a_distance(rng, with_events([ring] * starts_s.size, starts_s))


def bells(rng: np.random.Generator) -> Float64Array:
    """One to four church bells, or small ones, that swing at their own rates."""
    sounds: list[Float64Array] = []
    starts_s: list[float] = []
    prime_hz = log_uniform(rng, 220, 1100)
    for _ in range(int(rng.integers(1, 5))):
        decays_s = log_uniform(rng, 1.5, 6) * _BELL_RATIOS**-0.7
        levels = rng.uniform(0.3, 1, _BELL_RATIOS.size) * np.exp(-0.2 * _BELL_RATIOS)
        detuned = _BELL_RATIOS * (1 + 0.004 * rng.standard_normal(_BELL_RATIOS.size))
        bell = ramped(struck(prime_hz * detuned, decays_s, levels), 0.001)
        for start_s in regular_times_s(rng, 1 / log_uniform(rng, 0.7, 2.5), 0.02):
            sounds.append(bell * rng.uniform(0.6, 1.0))
            starts_s.append(float(start_s))
        prime_hz *= pick(rng, (9 / 8, 6 / 5, 5 / 4, 4 / 3, 3 / 2))
    return _at_a_distance(rng, with_events(sounds, starts_s))


def _at_a_distance(rng: np.random.Generator, dry: Float64Array) -> Float64Array:
    """Return a sound through walls and air, with reverberation and the noise of the place."""
    sound = in_room(
        rng, dry, decay_s=log_uniform(rng, 0.2, 1.8), reverberant=log_uniform(rng, 0.02, 0.8)
    )
    sound = filtered(sound, low_pass(log_uniform(rng, 1500, 9000), 1))
    bed = noise(rng, slope(rng.uniform(0.5, 1.1), 60)) * swell(rng, 0.2, 0.5)
    return np.asarray(sound / sound.std() + log_uniform(rng, 0.004, 0.1) * bed)


def _bell_ring(rng: np.random.Generator, ring_s: float) -> Float64Array:
    """Return two gongs [time] that a clapper strikes in turn."""
    gongs = []
    for base_hz in (log_uniform(rng, 900, 1500), log_uniform(rng, 1000, 1800)):
        modes = base_hz * np.array([1.0, 1.5, 2.3, 3.1, 4.4])
        gongs.append(struck(modes, np.array([0.7, 0.5, 0.35, 0.25, 0.15]), rng.uniform(0.3, 1, 5)))
    strikes = round(ring_s * rng.uniform(18, 30))
    ring = np.zeros(round((ring_s + 0.8) * SAMPLE_RATE))
    for number in range(strikes):
        gong = gongs[number % 2]
        start = round(number * ring_s / strikes * SAMPLE_RATE)
        count = min(gong.size, ring.size - start)
        ring[start : start + count] += gong[:count] * rng.uniform(0.8, 1.0)
    return ramped(ring, 0.002)


def _trill(rng: np.random.Generator, ring_s: float) -> Float64Array:
    """Return tones in turn [time], from a fast trill to a short melody."""
    tones = log_uniform_count(rng, 2, 6)
    pitches_hz = log_uniform(rng, 500, 1500) * 2 ** (rng.integers(0, 13, tones) / 12)
    rate = log_uniform(rng, 4, 25)
    time = seconds(ring_s)
    frequency = pitches_hz[(time * rate).astype(np.int64) % tones]
    table = wave_table(rng, np.arange(1, 1 + int(7500 / pitches_hz.max())) ** -rng.uniform(1, 2.5))
    return ramped(from_table(table, np.cumsum(frequency) / SAMPLE_RATE))


def _vibration(rng: np.random.Generator, ring_s: float) -> Float64Array:
    """Return the buzz [time] of a telephone that shakes a table."""
    time = seconds(ring_s)
    motor_hz = rng.uniform(130, 220) * np.clip(time / 0.05, 0.3, 1)
    table = wave_table(rng, np.arange(1, 30) ** -rng.uniform(0.5, 1.2))
    buzz = from_table(table, np.cumsum(motor_hz) / SAMPLE_RATE)
    plate = struck(random_modes(rng, 200, 1500, 5), np.full(5, 0.02), np.ones(5))
    return ramped(np.convolve(buzz, plate)[: time.size], 0.03)
