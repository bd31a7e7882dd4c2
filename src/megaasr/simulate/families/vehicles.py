"""Vehicles: an engine nearby, passing cars, a train."""

from __future__ import annotations

import numpy as np

from megaasr.simulate.families.circular import (
    LENGTH,
    SECONDS,
    Float64Array,
    band_pass,
    curve,
    cycles,
    filtered,
    from_table,
    low_pass,
    noise,
    resonance,
    scattered,
    slope,
    swell,
    wave_table,
    with_events,
)
from megaasr.simulate.families.parameters import chance, log_uniform, pick
from megaasr.simulate.families.short_sounds import (
    burst,
    equal_lengths,
    ramped,
    random_modes,
    seconds,
    smoothed,
    struck,
)

_SOUND_M_S = 343.0


def engine(rng: np.random.Generator) -> Float64Array:
    """A four-stroke engine of 1 to 8 cylinders that idles, keeps its speed or accelerates."""
    cylinders = pick(rng, (1, 2, 3, 4, 4, 6, 8))
    turns_hz = _engine_turns_hz(rng)
    phase = cycles(turns_hz / 2)  # a cycle is two turns
    orders = np.arange(1, min(1000, int(7000 / (turns_hz.max() / 2))) + 1)
    # Multiples of the number of cylinders are common to all of them.
    levels = np.where(orders % cylinders == 0, 1.0, rng.uniform(0.04, 0.35))
    levels = levels * (orders / cylinders) ** -rng.uniform(0.5, 1.2)
    levels[: cylinders - 1] *= rng.uniform(0.05, 0.5)
    levels *= np.exp(0.3 * rng.standard_normal(orders.size))
    sound = from_table(wave_table(rng, levels), phase)
    firing = 1 + 0.7 * np.sin(2 * np.pi * cylinders * phase)
    combustion = noise(rng, slope(rng.uniform(0.4, 0.8), 80)) * firing
    sound = sound / sound.std() + log_uniform(rng, 0.08, 0.6) * combustion
    gains = low_pass(log_uniform(rng, 600, 5000), rng.uniform(1, 2))
    for _ in range(int(rng.integers(1, 4))):
        gains = gains * (1 + rng.uniform(0.5, 4) * resonance(log_uniform(rng, 60, 1500), 0.25))
    sound = filtered(sound * (turns_hz / turns_hz.mean()) ** 0.7, gains)
    road = noise(rng, slope(rng.uniform(0.5, 1.0), 60))
    return np.asarray(sound / sound.std() + log_uniform(rng, 0.02, 0.5) * road)


def traffic(rng: np.random.Generator) -> Float64Array:
    """A road: cars pass at random distances and speeds, with the Doppler effect."""
    tyres = noise(rng, resonance(log_uniform(rng, 600, 1300), rng.uniform(0.8, 1.6)))
    rumble = noise(rng, slope(rng.uniform(0.8, 1.2), 50) * low_pass(log_uniform(rng, 200, 900), 1))
    bed = rumble * swell(rng, 0.25, 0.3) + 0.2 * noise(rng, slope(0.8, 200))
    nearest_m = log_uniform(rng, 4, 30)
    cars = [_passing_car(rng, tyres, nearest_m) for _ in range(int(rng.integers(2, 9)))]
    starts_s = rng.random(len(cars)) * SECONDS
    passing = with_events(cars, starts_s)
    sound = passing / passing.std() + log_uniform(rng, 0.05, 0.6) * bed
    return filtered(sound, low_pass(log_uniform(rng, 1500, 7500), 1))


def train(rng: np.random.Generator) -> Float64Array:
    """A train from inside or beside it: rolling, wheels over rail joints, squeal and horn."""
    speed_m_s = log_uniform(rng, 8, 40)
    joint_m = rng.uniform(15, 25)
    joints = max(4, round(SECONDS * speed_m_s / joint_m))
    bogie_m, axle_m = rng.uniform(9, 17), rng.uniform(1.8, 2.8)
    offsets_s = np.array([0, axle_m, bogie_m, bogie_m + axle_m]) / speed_m_s
    starts_s = (np.arange(joints)[:, None] * (SECONDS / joints) + offsets_s).ravel()
    clacks = []
    for _ in range(6):
        modes = random_modes(rng, 60, 1400, 7)
        body = struck(modes, 12 / modes + 0.05, modes**-0.3)
        click = np.pad(smoothed(burst(rng, 0.03, 0.03), 3500), (0, body.size))[: body.size]
        clacks.append(body / np.abs(body).max() + rng.uniform(0.2, 1.0) * click)
    gains = np.exp(0.25 * rng.standard_normal(starts_s.size)) * np.tile([1, 0.9, 0.6, 0.5], joints)
    wheels = scattered(equal_lengths(clacks), starts_s, rng.integers(6, size=gains.size), gains)
    rolling = noise(rng, slope(rng.uniform(0.6, 1.1), 50) * low_pass(900, 1))
    hiss = noise(rng, band_pass(log_uniform(rng, 300, 900), log_uniform(rng, 2000, 5000), 1))
    sound = wheels / wheels.std() * log_uniform(rng, 0.2, 1.2) + rolling * swell(rng, 0.12, 1.0)
    sound += rng.uniform(0.05, 0.4) * hiss * swell(rng, 0.2, 1.0)
    if chance(rng, 0.4):  # wheel flanges in a curve
        squeal_hz = log_uniform(rng, 1200, 4500) * np.exp(0.01 * curve(rng, 3))
        squeal = np.sin(2 * np.pi * cycles(squeal_hz)) * np.maximum(curve(rng, 0.5) - 0.5, 0)
        sound += rng.uniform(0.3, 1.5) * squeal
    if chance(rng, 0.25):
        horns = [_horn(rng) for _ in range(2)]
        sound += rng.uniform(0.8, 2) * with_events(horns, rng.random(2) * SECONDS)
    return filtered(sound, low_pass(log_uniform(rng, 1200, 7000), 1))


def _engine_turns_hz(rng: np.random.Generator) -> Float64Array:
    """Return turns per second [time]."""
    behaviour = pick(rng, ("idle", "steady", "gears"))
    if behaviour == "idle":
        return np.asarray(log_uniform(rng, 10, 18) * (1 + rng.uniform(0.005, 0.03) * curve(rng, 3)))
    if behaviour == "steady":
        return np.asarray(
            log_uniform(rng, 20, 75) * (1 + rng.uniform(0.01, 0.08) * curve(rng, 0.4))
        )
    # Each gear takes the engine from low to high speed; the change takes a moment.
    low_hz = log_uniform(rng, 15, 28)
    ratio = rng.uniform(1.6, 2.6)
    gears = int(rng.integers(2, 6))
    position = (np.arange(LENGTH) / LENGTH * gears + rng.random()) % 1.0
    ramp = np.where(position < 0.88, position / 0.88, (1 - position) / 0.12)
    return np.asarray(low_hz * ratio ** np.clip(filtered(ramp, low_pass(2.5)), 0, 1))


def _passing_car(rng: np.random.Generator, tyres: Float64Array, nearest_m: float) -> Float64Array:
    """Return a car [time] from its approach until it is gone, at most 14 s."""
    distance_m = nearest_m * rng.uniform(1, 1.8)
    speed_m_s = log_uniform(rng, 7, 33)
    duration_s = min(14.0, 3 + 14 * distance_m / speed_m_s)
    time = seconds(duration_s)
    range_m = np.hypot(distance_m, speed_m_s * (time - duration_s / 2))
    emitted = time - range_m / _SOUND_M_S
    rolling = from_table(tyres, emitted / SECONDS + rng.random())
    firing_hz = log_uniform(rng, 35, 130)
    levels = np.arange(1, 25) ** -rng.uniform(0.8, 1.5)
    engine_sound = from_table(wave_table(rng, levels), firing_hz * emitted)
    sound = rolling * speed_m_s / 15 + log_uniform(rng, 0.1, 1) * engine_sound / engine_sound.std()
    # Beyond 1/r, bushes and the road swallow the distant car; it also fades in and out.
    fade = np.sin(np.pi * (np.arange(time.size) + 0.5) / time.size) ** 2
    return np.asarray(sound * (distance_m / range_m) ** 1.3 * fade * log_uniform(rng, 0.4, 1.5))


def _horn(rng: np.random.Generator) -> Float64Array:
    time = seconds(rng.uniform(0.6, 2.5))
    base_hz = log_uniform(rng, 220, 420)
    table = wave_table(rng, np.arange(1, 9) ** -0.8)
    chord = [from_table(table, base_hz * ratio * time) for ratio in (1, 1.26, 1.5)]
    return ramped(np.asarray(sum(chord)), 0.08)
