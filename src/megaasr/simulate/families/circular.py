"""Sound on a circle of 20 s: whatever is built here continues from its end at its beginning.

Noise and filters are made in the frequency domain, whose basis repeats after 20 s; sounds that
begin near the end are continued at the beginning; tones have a whole number of cycles.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.waveform import SAMPLE_RATE

Float64Array = NDArray[np.float64]

SECONDS = 20
LENGTH = SECONDS * SAMPLE_RATE
_TABLE = 4096
_CHUNK = 4096  # copies that are added at once, which limits the memory


@cache
def frequencies_hz() -> Float64Array:
    """Return the frequencies of the spectrum of a circle, float64 array [frequency], read-only."""
    frequencies = np.asarray(np.fft.rfftfreq(LENGTH, 1 / SAMPLE_RATE), np.float64)
    frequencies.setflags(write=False)
    return frequencies


def low_pass(cutoff_hz: float, order: float = 2) -> Float64Array:
    """Return the gains [frequency] of a Butterworth low-pass: 6 dB an octave for each order."""
    return np.asarray(1 / np.sqrt(1 + (frequencies_hz() / cutoff_hz) ** (2 * order)))


def high_pass(cutoff_hz: float, order: float = 2) -> Float64Array:
    """Return the gains [frequency] of a Butterworth high-pass: 6 dB an octave for each order."""
    ratio = (frequencies_hz() / cutoff_hz) ** order
    return np.asarray(ratio / np.sqrt(1 + np.square(ratio)))


def band_pass(low_hz: float, high_hz: float, order: float = 2) -> Float64Array:
    """Return the gains [frequency] of a high-pass at `low_hz` and a low-pass at `high_hz`."""
    return high_pass(low_hz, order) * low_pass(high_hz, order)


def resonance(centre_hz: float, octaves: float) -> Float64Array:
    """Return gains [frequency] of 1 at a centre and 1/e at so many octaves above and below it."""
    distance = np.log2(np.maximum(frequencies_hz(), 1.0) / centre_hz)
    return np.exp(-np.square(distance / octaves))


def slope(exponent: float, corner_hz: float = 30.0) -> Float64Array:
    """Return gains [frequency] that fall as 1 / f^exponent and are equal below the corner."""
    return np.asarray((np.maximum(frequencies_hz(), corner_hz) / corner_hz) ** -exponent)


def noise(rng: np.random.Generator, gains: Float64Array) -> Float64Array:
    """Return Gaussian noise [time] of RMS 1 whose spectrum has these gains [frequency]."""
    parts = rng.standard_normal(2 * gains.size)
    spectrum = parts.view(np.complex128) * gains
    spectrum[0] = 0.0
    samples = np.fft.irfft(spectrum, LENGTH)
    return np.asarray(samples / samples.std())


def filtered(samples: Float64Array, gains: NDArray[np.float64 | np.complex128]) -> Float64Array:
    """Return the samples [time] after a filter with these gains [frequency]."""
    return np.fft.irfft(np.fft.rfft(samples) * gains, LENGTH)


def curve(rng: np.random.Generator, max_hz: float) -> Float64Array:
    """Return a random curve [time] of mean 0 and RMS 1 that changes up to so many times a second.

    Args:
        rng: random stream.
        max_hz: highest frequency in the curve, at least 0.05.
    """
    count = max(1, round(max_hz * SECONDS))
    spectrum = np.zeros(count + 1, np.complex128)
    spectrum[1:] = rng.standard_normal(2 * count).view(np.complex128)
    samples = np.fft.irfft(spectrum, LENGTH)
    return np.asarray(samples / samples.std())


def swell(rng: np.random.Generator, depth: float, max_hz: float) -> Float64Array:
    """Return a random loudness [time] around 1; `depth` is the RMS of its natural logarithm."""
    return np.exp(depth * np.clip(curve(rng, max_hz), -2.5, 2.5))


def cycles(frequency_hz: Float64Array) -> Float64Array:
    """Return the phase in cycles [time] of a frequency [time], which is changed a little.

    The number of cycles in the circle becomes whole, so that a tone continues at its end.
    """
    phase = np.concatenate([[0.0], np.cumsum(frequency_hz) / SAMPLE_RATE])
    return np.asarray(phase[:-1] * (max(1, round(phase[-1])) / phase[-1]))


def wave_table(rng: np.random.Generator, levels: NDArray[np.floating[Any]]) -> Float64Array:
    """Return a cycle [4096 samples] of harmonics with these amplitudes and random phases.

    Args:
        rng: random stream.
        levels: amplitudes of the fundamental and its multiples, float64 array [harmonic], at most
            1000.
    """
    spectrum = np.zeros(_TABLE // 2 + 1, np.complex128)
    turns = np.exp(2j * np.pi * rng.random(levels.size))
    spectrum[1 : levels.size + 1] = levels * turns * (_TABLE / 2)
    return np.fft.irfft(spectrum, _TABLE)


def from_table(table: Float64Array, phase: Float64Array) -> Float64Array:
    """Return the values of a cycle [table] at phases in cycles [time]."""
    position = (phase % 1.0) * table.size
    index = position.astype(np.int64) % table.size
    fraction = position - np.floor(position)
    following = np.append(table[1:], table[0])
    return np.asarray(table[index] * (1 - fraction) + following[index] * fraction)


def scattered(
    shapes: Float64Array, starts_s: Float64Array, selected: NDArray[np.int64], gains: Float64Array
) -> Float64Array:
    """Return the sum [time] of copies of short sounds of the same length.

    Args:
        shapes: sounds to copy, float64 array [shape, time], shorter than the circle.
        starts_s: start of each copy in seconds, float64 array [copy].
        selected: index of the shape of each copy, int64 array [copy].
        gains: gain of each copy, float64 array [copy].
    """
    starts = (starts_s * SAMPLE_RATE).astype(np.int64) % LENGTH
    total = LENGTH + shapes.shape[1]
    summed = np.zeros(total)
    within = np.arange(shapes.shape[1])
    for first in range(0, starts.size, _CHUNK):
        part = slice(first, first + _CHUNK)
        indices = starts[part, None] + within
        weights = shapes[selected[part]] * gains[part, None]
        summed += np.bincount(indices.ravel(), weights.ravel(), total)
    summed[: shapes.shape[1]] += summed[LENGTH:]  # the end continues at the beginning
    return summed[:LENGTH]


def with_events(
    sounds: Sequence[Float64Array], starts_s: Sequence[float] | Float64Array
) -> Float64Array:
    """Return the sum [time] of sounds of any length, each beginning at its own time in seconds."""
    summed = np.zeros(LENGTH)
    for sound, start_s in zip(sounds, starts_s, strict=True):
        start = int(start_s * SAMPLE_RATE) % LENGTH
        rest = sound[:LENGTH]
        first = min(rest.size, LENGTH - start)
        summed[start : start + first] += rest[:first]
        summed[: rest.size - first] += rest[first:]
    return summed


def random_times_s(rng: np.random.Generator, per_s: float) -> Float64Array:
    """Return independent times in seconds [event]; their number is fixed, at least one."""
    return rng.random(max(1, round(per_s * SECONDS))) * SECONDS


def regular_times_s(rng: np.random.Generator, per_s: float, jitter: float) -> Float64Array:
    """Return times in seconds [event] at a rate; jitter is their RMS deviation in intervals."""
    count = max(1, round(per_s * SECONDS))
    deviations = jitter * np.clip(rng.standard_normal(count), -2, 2)
    return np.asarray(
        ((np.arange(count) + rng.random() + deviations) * (SECONDS / count)) % SECONDS
    )


def in_room(
    rng: np.random.Generator, samples: Float64Array, *, decay_s: float, reverberant: float
) -> Float64Array:
    """Return samples [time] with the reverberation of a random room.

    Args:
        rng: random stream.
        samples: dry sound, float64 array [time].
        decay_s: time in which the reverberation falls by 60 dB, below 20 s.
        reverberant: energy of the reverberation relative to the direct sound.
    """
    count = round(decay_s * SAMPLE_RATE)
    time = np.arange(count) / SAMPLE_RATE
    tail = rng.standard_normal(count) * np.exp(-6.9 * time / decay_s)
    tail[: round(0.002 * SAMPLE_RATE)] = 0.0
    tail *= np.sqrt(reverberant / np.square(tail).sum())
    # Walls and air absorb the high frequencies.
    gains = 1 + np.fft.rfft(tail, LENGTH) * low_pass(rng.uniform(1500, 5000), 1)
    return filtered(samples, gains)
