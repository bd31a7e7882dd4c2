"""Sounds of objects: steps, keys, clocks, knocks, dishes, paper."""

from __future__ import annotations

import numpy as np

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.simulate.families.circular import (
    LENGTH,
    SECONDS,
    Float64Array,
    band_pass,
    curve,
    filtered,
    in_room,
    low_pass,
    noise,
    random_times_s,
    regular_times_s,
    resonance,
    scattered,
    slope,
    swell,
    with_events,
)
from megaasr.simulate.families.parameters import chance, log_uniform, log_uniform_count, pick
from megaasr.simulate.families.short_sounds import (
    burst,
    equal_lengths,
    ramped,
    random_modes,
    seconds,
    smoothed,
    struck,
)


def footsteps(rng: np.random.Generator) -> Float64Array:
    """One to three people walking: on a hard floor with heel and sole, or on gravel."""
    steps = np.zeros(LENGTH)
    for _ in range(log_uniform_count(rng, 1, 3)):
        step = _gravel_step if chance(rng, 0.35) else _hard_step
        shapes = [step(rng) for _ in range(6)]
        times_s = regular_times_s(rng, log_uniform(rng, 1.4, 2.9), 0.03)
        distance = np.exp(0.6 * np.sin(2 * np.pi * (times_s / SECONDS + rng.random())))
        gains = distance * np.exp(0.15 * rng.standard_normal(times_s.size)) * rng.uniform(0.4, 1)
        steps += scattered(
            equal_lengths(shapes), times_s, rng.integers(6, size=times_s.size), gains
        )
    return _with_bed(rng, _in_random_room(rng, steps))


def keyboard(rng: np.random.Generator) -> Float64Array:
    """Typing: bursts of keystrokes, each pressed and let go, with pauses; a mouse now and then."""
    mean_s = log_uniform(rng, 0.11, 0.3)
    count = round(SECONDS / mean_s)
    intervals = mean_s * np.exp(0.35 * rng.standard_normal(count))
    intervals += (rng.random(count) < 0.05) * rng.uniform(0.4, 2.0, count)
    ends_s = np.cumsum(intervals)
    pressed_s = ends_s * (SECONDS / ends_s[-1])
    released_s = pressed_s + rng.uniform(0.05, 0.12, count)
    low_hz, high_hz = log_uniform(rng, 900, 2500), log_uniform(rng, 3000, 7000)
    hollow = log_uniform(rng, 0.05, 0.8)
    keys = equal_lengths([_keystroke(rng, low_hz, high_hz, hollow) for _ in range(24)])
    gains = np.exp(0.35 * rng.standard_normal(count))
    sound = scattered(keys, pressed_s, rng.integers(24, size=count), gains)
    release = rng.uniform(0.15, 0.5) * gains
    sound += scattered(keys, released_s, rng.integers(24, size=count), release)
    return _with_bed(rng, _in_random_room(rng, sound))


def clock(rng: np.random.Generator) -> Float64Array:
    """One or two clocks: tick and tock at their own rates."""
    sound = np.zeros(LENGTH)
    for _ in range(log_uniform_count(rng, 1, 2)):
        rate = pick(rng, (1.0, 1.0, 2.0, 4.0, 5.0, 0.8))
        modes = random_modes(rng, 1200, 6500, 5)
        decays_s = rng.uniform(0.006, 0.04) * (0.5 + rng.random(5))
        case_hz = random_modes(rng, 180, 700, 2)
        ticks = []
        for pitch in (1.0, rng.uniform(0.8, 1.1)):
            levels = np.concatenate([rng.uniform(0.2, 1, 5), rng.uniform(0.1, 0.9, 2)])
            all_modes = np.concatenate([modes * pitch, case_hz * pitch])
            all_decays = np.concatenate([decays_s, rng.uniform(0.03, 0.09, 2)])
            ticks.append(ramped(struck(all_modes, all_decays, levels), 0.0003))
        times_s = np.sort(regular_times_s(rng, rate, 0.003))
        tick_tock = np.arange(times_s.size) % 2
        gains = np.full(times_s.size, rng.uniform(0.4, 1.0))
        sound += scattered(equal_lengths(ticks), times_s, tick_tock, gains)
    return _with_bed(rng, _in_random_room(rng, sound))


def knocks(rng: np.random.Generator) -> Float64Array:
    """Knocking at doors, hammering on wood, metal or stone, in groups."""
    low_hz, high_hz, decay_s = pick(
        rng, ((80.0, 900.0, 0.1), (150.0, 2200.0, 0.07), (300.0, 5500.0, 0.5), (60.0, 400.0, 0.18))
    )
    modes = random_modes(rng, low_hz, high_hz, 8)
    decays_s = decay_s * (0.4 + rng.random(8)) * (modes[0] / modes) ** 0.3
    blows = []
    for _ in range(6):
        body = struck(modes * rng.uniform(0.99, 1.01), decays_s, rng.uniform(0.2, 1, 8))
        body = ramped(body / np.abs(body).max(), 0.0004)
        click = rng.uniform(0.1, 0.8) * smoothed(burst(rng, 0.015, 0.012), 4500)
        blows.append(body + np.pad(click, (0, body.size))[: body.size])
    groups_s = regular_times_s(rng, 1 / log_uniform(rng, 1.2, 4.0), 0.15)
    interval_s = log_uniform(rng, 0.13, 0.6)
    sounds, starts_s = [], []
    for group_s in groups_s:
        for number in range(log_uniform_count(rng, 1, 7)):
            sounds.append(rng.uniform(0.5, 1.0) * pick(rng, blows))
            starts_s.append(float(group_s) + number * interval_s * rng.uniform(0.94, 1.06))
    return _with_bed(rng, _in_random_room(rng, with_events(sounds, starts_s)))


def dishes(rng: np.random.Generator) -> Float64Array:
    """Plates, glasses and cutlery: clinks that ring, alone and in clusters, and scraping."""
    clinks = []
    for _ in range(12):
        modes = random_modes(rng, log_uniform(rng, 700, 2500), 7500, int(rng.integers(4, 9)))
        decays_s = log_uniform(rng, 0.05, 0.6) * (0.4 + rng.random(modes.size))
        ring = struck(modes, decays_s, rng.uniform(0.1, 1, modes.size))
        click = 0.4 * smoothed(burst(rng, 0.01, 0.006), 6000)
        clinks.append(ramped(ring / np.abs(ring).max(), 0.0003))
        clinks[-1][: click.size] += click
    clusters_s = random_times_s(rng, log_uniform(rng, 0.6, 2.5))
    sounds, starts_s = [], []
    for cluster_s in clusters_s:
        for _ in range(log_uniform_count(rng, 1, 7)):
            sounds.append(log_uniform(rng, 0.15, 1.0) * pick(rng, clinks))
            starts_s.append(float(cluster_s) + 0.6 * float(rng.random()) ** 2)
    sound = with_events(sounds, starts_s)
    if chance(rng, 0.5):
        scraping = noise(rng, resonance(log_uniform(rng, 2000, 5500), 0.3)) * swell(rng, 0.7, 12)
        sound += 0.15 * scraping * np.clip(curve(rng, 0.7) - 0.5, 0, 1)
    return _with_bed(rng, _in_random_room(rng, sound))


def rustle(rng: np.random.Generator) -> Float64Array:
    """Paper, a plastic bag or clothes near the microphone: bursts of tiny crackles."""
    low_hz, high_hz = pick(rng, ((1500.0, 7000.0), (2500.0, 7500.0), (300.0, 2500.0)))
    grains = equal_lengths([burst(rng, 0.006, log_uniform(rng, 0.001, 0.006)) for _ in range(24)])
    times, strengths = [], []
    for start_s in random_times_s(rng, log_uniform(rng, 0.5, 1.6)):
        duration_s = log_uniform(rng, 0.15, 1.6)
        count = max(8, round(duration_s * log_uniform(rng, 60, 500)))
        times.append(start_s + duration_s * rng.random(count))
        strengths.append(
            log_uniform(rng, 0.3, 1.5) * np.exp(rng.uniform(0.5, 1) * rng.standard_normal(count))
        )
    times_s, gains = np.concatenate(times), np.concatenate(strengths)
    sound = scattered(grains, times_s, rng.integers(24, size=times_s.size), gains)
    sound = filtered(sound, band_pass(low_hz, high_hz))
    thumps_s = random_times_s(rng, log_uniform(rng, 0.1, 1.0))
    thump = [struck(random_modes(rng, 40, 200, 3), np.full(3, 0.12), np.ones(3)) for _ in thumps_s]
    sound += rng.uniform(0, 0.3) * np.abs(sound).max() * 0.3 * with_events(thump, thumps_s)
    return _with_bed(rng, sound)


def _in_random_room(rng: np.random.Generator, sound: Float64Array) -> Float64Array:
    decay_s = log_uniform(rng, 0.15, 1.5)
    return in_room(rng, sound, decay_s=decay_s, reverberant=log_uniform(rng, 0.02, 1.0))


def _with_bed(rng: np.random.Generator, sound: Float64Array) -> Float64Array:
    """Return a sound over the faint noise of a room, 26 to 50 dB below it."""
    bed = noise(rng, slope(rng.uniform(0.5, 1.0), 60) * low_pass(log_uniform(rng, 1500, 7000), 1))
    return np.asarray(sound / sound.std() + log_uniform(rng, 0.003, 0.05) * bed)


def _hard_step(rng: np.random.Generator) -> Float64Array:
    modes = random_modes(rng, 70, 900, 6)
    heel = struck(modes, 8 / modes + 0.03, modes**-0.4)
    heel = heel / np.abs(heel).max()
    click = rng.uniform(0.1, 0.9) * smoothed(burst(rng, 0.02, 0.012), log_uniform(rng, 2500, 6000))
    sole = rng.uniform(0.1, 0.4) * smoothed(burst(rng, 0.06, 0.06), 2500)
    step = np.zeros(seconds(0.35).size)
    step[: min(heel.size, step.size)] += heel[: step.size]
    step[: click.size] += click
    delay = round(rng.uniform(0.06, 0.12) * SAMPLE_RATE)
    step[delay : delay + sole.size] += sole
    return ramped(step, 0.0006)


def _gravel_step(rng: np.random.Generator) -> Float64Array:
    time = seconds(rng.uniform(0.16, 0.3))
    grains = (rng.random(time.size) < 0.03) * rng.standard_normal(time.size)
    crunch = smoothed(grains, 5000) * 3 + 0.15 * smoothed(rng.standard_normal(time.size), 3000)
    share = time / time[-1]
    pressure = np.sin(np.pi * share**0.6) ** 1.5
    return ramped(crunch * pressure * 2.5)


def _keystroke(
    rng: np.random.Generator, low_hz: float, high_hz: float, hollow: float
) -> Float64Array:
    modes = random_modes(rng, low_hz, high_hz, 5)
    click = struck(modes, rng.uniform(0.004, 0.02, 5), rng.uniform(0.3, 1, 5))
    body_hz = random_modes(rng, 150, 500, 2)
    body = hollow * struck(body_hz, np.array([0.03, 0.025]), np.ones(2))
    tap = 0.6 * burst(rng, 0.008, 0.006)
    keystroke = np.zeros(seconds(0.04).size)
    for part in (click, body, tap):
        keystroke[: part.size] += part[: keystroke.size]
    return ramped(keystroke, 0.0003)
