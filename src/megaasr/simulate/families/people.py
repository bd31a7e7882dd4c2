"""People without words: voices in the background, applause, a crying baby."""

from __future__ import annotations

import numpy as np

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.simulate.babble import single_talker
from megaasr.simulate.families.circular import (
    LENGTH,
    SECONDS,
    Float64Array,
    filtered,
    in_room,
    low_pass,
    noise,
    regular_times_s,
    scattered,
    slope,
    swell,
    wave_table,
    with_events,
)
from megaasr.simulate.families.parameters import chance, log_uniform, log_uniform_count
from megaasr.simulate.families.short_sounds import (
    burst,
    equal_lengths,
    gliding,
    ramped,
    seconds,
    smoothed,
)


def babble(rng: np.random.Generator) -> Float64Array:
    """Two to ten talkers without words: random pitches, vocal tracts and distances in a room."""
    near, far = np.zeros(LENGTH), np.zeros(LENGTH)
    for _ in range(log_uniform_count(rng, 2, 10)):
        pitch_hz = log_uniform(rng, 85, 260)
        formant_scale = 0.97 + 0.2 * np.log2(pitch_hz / 110) + 0.03 * rng.standard_normal()
        voice = single_talker(rng, LENGTH, pitch_hz, float(np.clip(formant_scale, 0.85, 1.3)))
        distance_m = log_uniform(rng, 1, 8)
        near += voice / (voice.std() * distance_m)
        far += voice / voice.std()  # the reverberation does not depend on the distance
    room = in_room(rng, far, decay_s=log_uniform(rng, 0.3, 2.0), reverberant=1.0) - far
    sound = near + log_uniform(rng, 0.03, 0.35) * room
    return filtered(sound, low_pass(log_uniform(rng, 2500, 9000), 1))


def applause(rng: np.random.Generator) -> Float64Array:
    """A few to many people who clap at their own rates, in a hall."""
    claps = []
    for _ in range(32):
        shell_hz = log_uniform(rng, 500, 2200)  # the hollow of the hands
        clap = burst(rng, 0.025, log_uniform(rng, 0.008, 0.025))
        hollow = gliding(np.full(clap.size, shell_hz)) * np.exp(-seconds(0.025) / 0.004)
        claps.append(smoothed(clap, log_uniform(rng, 3000, 8000)) + rng.uniform(0.2, 1) * hollow)
    times, shapes, levels = [], [], []
    for _ in range(log_uniform_count(rng, 3, 110)):
        clapper_s = regular_times_s(rng, log_uniform(rng, 2.2, 5.0), 0.06)
        times.append(clapper_s)
        shapes.append(np.full(clapper_s.size, int(rng.integers(32)), np.int64))
        levels.append(log_uniform(rng, 0.1, 1) * np.exp(0.15 * rng.standard_normal(clapper_s.size)))
    sound = scattered(
        equal_lengths(claps),
        np.concatenate(times),
        np.concatenate(shapes),
        np.concatenate(levels),
    )
    sound *= swell(rng, rng.uniform(0.1, 0.6), 0.2)
    sound = in_room(
        rng, sound, decay_s=log_uniform(rng, 0.4, 2.5), reverberant=log_uniform(rng, 0.1, 2)
    )
    return np.asarray(sound / sound.std() + 0.01 * noise(rng, slope(0.7, 60)))


def baby(rng: np.random.Generator) -> Float64Array:
    """A crying baby: long cries with a rising and falling voice, breaths between them."""
    pitch_hz = log_uniform(rng, 330, 560)
    formants_hz = (rng.uniform(900, 1400), rng.uniform(2200, 3300))
    sounds: list[Float64Array] = []
    starts_s: list[float] = []
    start_s = 0.0
    while start_s < SECONDS - 1.5:
        cry = _cry(rng, pitch_hz * rng.uniform(0.9, 1.12), formants_hz)
        breath = 0.06 * ramped(smoothed(rng.standard_normal(seconds(0.25).size), 5000), 0.08) * 4
        sounds += [cry * rng.uniform(0.6, 1.0), breath]
        starts_s += [start_s, start_s + cry.size / SAMPLE_RATE + 0.05]
        pause_s = rng.uniform(0.3, 0.6) if chance(rng, 0.85) else rng.uniform(1.0, 2.5)
        start_s += cry.size / SAMPLE_RATE + pause_s
    sound = with_events(sounds, starts_s)
    sound = in_room(
        rng, sound, decay_s=log_uniform(rng, 0.2, 0.8), reverberant=log_uniform(rng, 0.02, 0.5)
    )
    sound = filtered(sound, low_pass(log_uniform(rng, 3000, 9000), 1))
    bed = noise(rng, slope(rng.uniform(0.5, 1.0), 60))
    return np.asarray(sound / sound.std() + log_uniform(rng, 0.004, 0.05) * bed)


def _cry(
    rng: np.random.Generator, pitch_hz: float, formants_hz: tuple[float, float]
) -> Float64Array:
    time = seconds(log_uniform(rng, 0.5, 1.6))
    share = time / time[-1]
    melody = 0.8 + 0.35 * np.sin(np.pi * share ** rng.uniform(0.5, 1.1))
    melody *= 1 + 0.012 * np.sin(2 * np.pi * rng.uniform(5, 8) * time)
    tremor = smoothed(rng.standard_normal(time.size), 60)
    frequency = pitch_hz * melody * (1 + 0.1 * tremor)
    if chance(rng, 0.2):  # the voice breaks into a shriek
        frequency[share > rng.uniform(0.3, 0.6)] *= 1.6
    harmonics = np.arange(1, int(7400 / float(frequency.max())) + 1)
    hertz = harmonics * pitch_hz
    levels = 0.1 * harmonics**-0.5 + sum(
        gain * np.exp(-np.square(np.log2(hertz / centre_hz) / 0.4))
        for gain, centre_hz in zip((1.0, 0.6), formants_hz, strict=True)
    )
    voice = gliding(frequency, wave_table(rng, np.asarray(levels)))
    breath = smoothed(rng.standard_normal(time.size), 4500)
    sound = voice / voice.std() + rng.uniform(0.1, 0.5) * breath / breath.std()
    envelope = np.clip(share / 0.12, 0, 1) * np.clip((1 - share) / 0.2, 0, 1)
    return ramped(sound * envelope)
