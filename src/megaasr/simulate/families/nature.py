"""Weather, water, fire and animals."""

from __future__ import annotations

import numpy as np

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.simulate.families.circular import (
    LENGTH,
    SECONDS,
    Float64Array,
    band_pass,
    cycles,
    filtered,
    high_pass,
    in_room,
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
from megaasr.simulate.families.short_sounds import (
    burst,
    equal_lengths,
    gliding,
    ramped,
    seconds,
    smoothed,
)


def wind(rng: np.random.Generator) -> Float64Array:
    """Wind: gusts in trees or around a house, whistling, and the rumble of the microphone."""
    gusts = swell(rng, rng.uniform(0.25, 0.8), log_uniform(rng, 0.2, 0.8))
    flutter = swell(rng, 0.2, 6.0)
    body = noise(rng, slope(rng.uniform(0.9, 1.5), log_uniform(rng, 40, 150)))
    sound = body * gusts * flutter
    leaves = noise(rng, band_pass(log_uniform(rng, 300, 1500), log_uniform(rng, 2000, 6000), 1))
    sound += log_uniform(rng, 0.01, 0.25) * leaves * gusts**2
    if chance(rng, 0.4):
        centre_hz = log_uniform(rng, 300, 1300)
        howl = noise(rng, resonance(centre_hz, 0.06)) * gusts**2
        sound += log_uniform(rng, 0.05, 0.4) * howl
    if chance(rng, 0.6):
        rumble = noise(rng, resonance(rng.uniform(25, 60), 0.8)) * gusts**2 * swell(rng, 0.5, 3)
        # The capsule reaches its limits.
        sound += rng.uniform(0.5, 2) * np.tanh(rng.uniform(0.5, 1.5) * rumble)
    return np.asarray(sound)


def rain(rng: np.random.Generator) -> Float64Array:
    """Rain on leaves, roofs or windows: near drops of all sizes over the rush of distant ones."""
    base_hz = log_uniform(rng, 300, 1800)
    pitches_hz = np.minimum(base_hz * 2 ** (rng.uniform(1.2, 3) * rng.random(24)), 7000)
    decays_s = log_uniform(rng, 0.004, 0.02) * (0.5 + rng.random(24))
    time = seconds(0.02)
    waves = np.sin(2 * np.pi * np.outer(pitches_hz, time)) + 0.5 * rng.standard_normal(
        (24, time.size)
    )
    drops = waves * np.exp(-6.9 * time / decays_s[:, None])
    drops[:, -16:] *= np.linspace(1, 0, 16)
    times_s = random_times_s(rng, log_uniform(rng, 60, 1500))
    gains = np.exp(rng.uniform(0.5, 1.0) * rng.standard_normal(times_s.size))
    near = scattered(drops, times_s, rng.integers(24, size=times_s.size), gains)
    rush = noise(rng, slope(rng.uniform(0, 0.5), 200) * high_pass(log_uniform(rng, 80, 900), 1))
    heaviness = swell(rng, rng.uniform(0.02, 0.2), 0.3)
    sound = near / near.std() + log_uniform(rng, 0.15, 2.0) * rush * heaviness
    if chance(rng, 0.4):  # a gutter
        times_s = random_times_s(rng, log_uniform(rng, 1, 8))
        drips = _bubbles(rng, 12, log_uniform(rng, 400, 1500), 0.06)
        gains = np.exp(0.5 * rng.standard_normal(times_s.size)) * rng.uniform(2, 6)
        sound += scattered(drips, times_s, rng.integers(12, size=times_s.size), gains)
    return filtered(sound, low_pass(log_uniform(rng, 4000, 9000), 1))


def stream_of_water(rng: np.random.Generator) -> Float64Array:
    """A brook or a tap: very many bubbles that ring with rising pitch, over a rush."""
    bubbles = _bubbles(rng, 48, log_uniform(rng, 400, 1500), 0.025)
    times_s = random_times_s(rng, log_uniform(rng, 80, 600))
    gains = np.exp(0.8 * rng.standard_normal(times_s.size))
    sound = scattered(bubbles, times_s, rng.integers(48, size=times_s.size), gains)
    sound *= swell(rng, rng.uniform(0.05, 0.3), 2.0)
    rush = noise(rng, band_pass(log_uniform(rng, 200, 800), log_uniform(rng, 2500, 6500), 1))
    return np.asarray(sound / sound.std() + log_uniform(rng, 0.1, 1.5) * rush)


def sea(rng: np.random.Generator) -> Float64Array:
    """Waves on a beach: each rises, breaks with a roar and runs out with a hiss."""
    waves = int(rng.integers(2, 5))
    starts_s = regular_times_s(rng, waves / SECONDS, 0.12)
    roars, hisses = [], []
    for _ in range(waves):
        rise_s, fall_s = rng.uniform(1.0, 3.0), rng.uniform(1.5, 4.0)
        time = seconds(rise_s + 2 * fall_s)
        roar = np.where(
            time < rise_s,
            (time / rise_s) ** 2,
            np.exp(-(time - rise_s) / (0.5 * fall_s)),
        )
        later = np.clip((time - 0.8 * rise_s) / (0.5 * fall_s), 0, None)
        hiss = later**2 * np.exp(2 - 2 * later)
        size = log_uniform(rng, 0.6, 1.5)
        roars.append(size * ramped(roar, 0.3))
        hisses.append(size * ramped(hiss, 0.3))
    roar_level = 0.15 + with_events(roars, starts_s)
    hiss_level = 0.05 + with_events(hisses, starts_s)
    low = noise(rng, slope(rng.uniform(0.6, 1.0), 60) * low_pass(log_uniform(rng, 600, 2000), 1))
    high = noise(rng, band_pass(log_uniform(rng, 600, 1800), log_uniform(rng, 4000, 8000), 1))
    return np.asarray(low * roar_level + log_uniform(rng, 0.2, 1.0) * high * hiss_level)


def fire(rng: np.random.Generator) -> Float64Array:
    """A fire: crackling and snapping wood over the flutter of flames."""
    shapes = [smoothed(burst(rng, 0.02, log_uniform(rng, 0.002, 0.02)), 6000) for _ in range(24)]
    near = [gliding(np.full(320, log_uniform(rng, 800, 5000))) * shape[:320] for shape in shapes]
    clicks = equal_lengths([a[:320] + 0.5 * b for a, b in zip(shapes, near, strict=True)])
    # Snaps come in groups.
    groups_s = random_times_s(rng, log_uniform(rng, 1.5, 8))
    followers = log_uniform_count(rng, 2, 9)
    times_s = (groups_s[:, None] + 0.15 * rng.random((groups_s.size, followers)) ** 2).ravel()
    times_s = np.concatenate([times_s, random_times_s(rng, log_uniform(rng, 3, 30))])
    gains = np.exp(rng.uniform(0.7, 1.1) * np.clip(rng.standard_normal(times_s.size), -3, 2.5))
    sound = scattered(clicks, times_s, rng.integers(24, size=times_s.size), gains)
    flames = noise(rng, slope(rng.uniform(0.6, 1.1), 50)) * swell(rng, 0.4, 7.0)
    hiss = noise(rng, high_pass(2500, 1)) * swell(rng, 0.4, 1.0)
    sound = sound / sound.std() + log_uniform(rng, 0.1, 0.7) * flames
    return np.asarray(sound + log_uniform(rng, 0.01, 0.15) * hiss)


def birds(rng: np.random.Generator) -> Float64Array:
    """One to five birds, each with phrases of its own, at different distances."""
    sounds: list[Float64Array] = []
    starts_s: list[float] = []
    for _ in range(int(rng.integers(1, 6))):
        phrase = _bird_phrase(rng)
        level = log_uniform(rng, 0.15, 1.0)
        for start_s in regular_times_s(rng, 1 / log_uniform(rng, 1.2, 4.0), 0.15):
            sounds.append(phrase * level * rng.uniform(0.6, 1.0))
            starts_s.append(float(start_s))
    song = with_events(sounds, starts_s)
    song = in_room(rng, song, decay_s=rng.uniform(0.3, 1.0), reverberant=rng.uniform(0.02, 0.4))
    bed = noise(rng, slope(rng.uniform(0.3, 1.0), 80)) * swell(rng, 0.3, 0.5)
    return np.asarray(song / song.std() + log_uniform(rng, 0.01, 0.15) * bed)


def insects(rng: np.random.Generator) -> Float64Array:
    """Crickets that chirp in pulses, or cicadas that buzz and swell."""
    sound = np.zeros(LENGTH)
    time = np.arange(LENGTH) / LENGTH
    for _ in range(int(rng.integers(1, 5))):
        level = log_uniform(rng, 0.2, 1.0)
        if chance(rng, 0.6):
            carrier = np.sin(2 * np.pi * cycles(log_uniform(rng, 2500, 6000) + np.zeros(LENGTH)))
            pulses = round(SECONDS * log_uniform(rng, 18, 60))
            chirps = round(SECONDS * log_uniform(rng, 0.7, 4))
            pulse = np.clip(np.sin(2 * np.pi * (pulses * time + rng.random())), 0, 1)
            share = rng.uniform(0.25, 0.7)
            chirp = np.clip(
                np.sin(2 * np.pi * (chirps * time + rng.random())) + 2 * share - 1, 0, 1
            )
            sound += level * carrier * pulse * np.sqrt(chirp)
        else:
            buzz = noise(rng, resonance(log_uniform(rng, 3500, 6500), rng.uniform(0.08, 0.3)))
            rattle = round(SECONDS * log_uniform(rng, 40, 250))
            wings = 1 + 0.9 * np.sin(2 * np.pi * (rattle * time + rng.random()))
            sound += level * buzz * wings * swell(rng, rng.uniform(0.1, 0.6), 0.4)
    bed = noise(rng, slope(rng.uniform(0.4, 1.0), 80))
    return np.asarray(sound / sound.std() + log_uniform(rng, 0.01, 0.1) * bed)


def dogs(rng: np.random.Generator) -> Float64Array:
    """One or two dogs: groups of barks with pauses between them."""
    sounds: list[Float64Array] = []
    starts_s: list[float] = []
    for _ in range(int(rng.integers(1, 3))):
        pitch_hz = log_uniform(rng, 180, 750)
        level = log_uniform(rng, 0.3, 1.0)
        barks = [_bark(rng, pitch_hz) for _ in range(4)]
        for group_s in regular_times_s(rng, 1 / log_uniform(rng, 1.5, 4.0), 0.2):
            interval_s = log_uniform(rng, 0.28, 0.6)
            for number in range(log_uniform_count(rng, 1, 5)):
                sounds.append(level * rng.uniform(0.6, 1.0) * pick(rng, barks))
                starts_s.append(float(group_s) + number * interval_s * rng.uniform(0.95, 1.05))
    dry = with_events(sounds, starts_s)
    sound = in_room(rng, dry, decay_s=rng.uniform(0.2, 1.2), reverberant=rng.uniform(0.02, 0.5))
    bed = noise(rng, slope(rng.uniform(0.4, 1.0), 60))
    return np.asarray(sound / sound.std() + log_uniform(rng, 0.003, 0.06) * bed)


def _bubbles(
    rng: np.random.Generator, count: int, centre_hz: float, length_s: float
) -> Float64Array:
    """Return bubbles [bubble, time]; small ones are higher, weaker and shorter (Minnaert 1933)."""
    bubbles = []
    for _ in range(count):
        pitch_hz = min(centre_hz * 2 ** (1.2 * rng.standard_normal()), 6000.0)
        time = seconds(length_s)
        decay_s = min(length_s, 12 / pitch_hz + 0.004)
        rising = pitch_hz * (1 + rng.uniform(0, 0.4) * time / decay_s)
        ring = gliding(np.minimum(rising, 7500)) * np.exp(-6.9 * time / decay_s)
        bubbles.append(ramped(ring, 0.001) * (centre_hz / pitch_hz) ** 0.5)
    return np.stack(bubbles)


def _bird_phrase(rng: np.random.Generator) -> Float64Array:
    """Return a phrase [time] of whistled syllables; a trill repeats the first."""
    centre_hz = log_uniform(rng, 2000, 5500)
    gap_s = log_uniform(rng, 0.02, 0.15)
    count = log_uniform_count(rng, 2, 12)
    syllables: list[Float64Array] = []
    trill = chance(rng, 0.4)
    for _ in range(count):
        if trill and syllables:
            syllables.append(syllables[0])
        else:
            time = seconds(log_uniform(rng, 0.03, 0.22))
            share = time / time[-1]
            start_hz, end_hz = centre_hz * 2 ** rng.uniform(-0.5, 0.5, 2)
            arch = rng.uniform(-0.2, 0.2) * np.sin(np.pi * share)
            vibrato = rng.uniform(0, 0.04) * np.sin(2 * np.pi * rng.uniform(15, 60) * time)
            frequency = (start_hz + (end_hz - start_hz) * share) * (1 + arch + vibrato)
            frequency = np.clip(frequency, 800, 7400)
            whistle = gliding(frequency) * np.sin(np.pi * share) ** 0.7
            whistle += rng.uniform(0, 0.2) * gliding(np.minimum(2 * frequency, 7700)) * share
            syllables.append(ramped(whistle * rng.uniform(0.5, 1.0)))
        syllables.append(np.zeros(round(gap_s * SAMPLE_RATE)))
    return np.concatenate(syllables)


def _bark(rng: np.random.Generator, pitch_hz: float) -> Float64Array:
    """Return a bark [time]: a rough voice that jumps up and falls, through two formants."""
    time = seconds(rng.uniform(0.12, 0.28))
    share = time / time[-1]
    contour = pitch_hz * (0.7 + 0.6 * np.sin(np.pi * share**0.6)) * rng.uniform(0.9, 1.1)
    harmonics = np.arange(1, int(7000 / (1.6 * pitch_hz)) + 1)
    first_hz, second_hz = rng.uniform(1.6, 3) * pitch_hz, log_uniform(rng, 1300, 2600)
    hertz = harmonics * pitch_hz
    levels = np.exp(-np.square(np.log2(hertz / first_hz) / 0.7))
    levels += 0.5 * np.exp(-np.square(np.log2(hertz / second_hz) / 0.6)) + 0.02
    rough = contour * (1 + 0.06 * smoothed(rng.standard_normal(time.size), 150) * 8)
    voice = gliding(rough, wave_table(rng, levels))
    breath = smoothed(rng.standard_normal(time.size), 4000)
    sound = voice / voice.std() + rng.uniform(0.2, 0.8) * breath / breath.std()
    return ramped(sound * np.clip(share / 0.12, 0, 1) * (1 - share) ** 0.8)
