"""The eight fixed built-in noises, which old draws and the first test set refer to.

The `families` have succeeded them: many realisations of more categories. Each fixed noise is a
table of int16 samples at 16 kHz with a peak of 0.9 of full scale, which repeats without a seam. It
is computed once per process from a fixed random stream, so that a name means the same bytes
everywhere. Draws refer to noises by name, so the noise behind a name must not change.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.errors import UsageError
from megaasr.simulate.babble import at_peak_level, remove_offset, synthetic_babble
from megaasr.simulate.streams import stream, stream_key

BUILTIN = "builtin:"
"""Prefix of the names of built-in noises in a draw."""

Float64Array = NDArray[np.float64]
_SECONDS = 30
_LENGTH = _SECONDS * SAMPLE_RATE
_WHITE_LENGTH = 2**20  # 65.5 s
_MIN_HZ = 30.0


@cache
def builtin_noise(name: str) -> NDArray[np.int16]:
    """Return a built-in noise as a read-only int16 array [time] at 16 kHz.

    Noises are 30 s long, white noise 65.5 s.

    Args:
        name: one of `NAMES`, without the prefix `builtin:`.

    Raises:
        UsageError: no built-in noise has this name.
    """
    if name not in _GENERATORS:
        raise UsageError(f"unknown built-in noise {name}; choose one of {', '.join(NAMES)}")
    noise = _GENERATORS[name](stream(stream_key(0, BUILTIN + name, 0, "noise")))
    levels = at_peak_level(noise)
    levels.setflags(write=False)  # shared by all callers in this process
    return levels


def _white(rng: np.random.Generator) -> Float64Array:
    """White noise: equal power at all frequencies."""
    return rng.standard_normal(_WHITE_LENGTH)


def _pink(rng: np.random.Generator) -> Float64Array:
    """Pink noise: power falls by 3 dB per octave."""
    return _coloured(rng, 0.5)


def _brown(rng: np.random.Generator) -> Float64Array:
    """Brown noise: power falls by 6 dB per octave."""
    return _coloured(rng, 1.0)


def _hum(rng: np.random.Generator) -> Float64Array:
    """Mains hum: 50 Hz with harmonics, and the buzz of a rectifier (multiples of 100 Hz)."""
    period = SAMPLE_RATE // 50
    cycle = np.arange(period) / period
    hum = np.zeros(period)
    for harmonic, level in enumerate((1.0, 0.7, 0.45, 0.3, 0.2, 0.16, 0.1, 0.1, 0.07, 0.06), 1):
        hum += level * np.sin(2 * np.pi * (harmonic * cycle + rng.random()))
    buzz = sum(np.cos(2 * np.pi * 2 * k * cycle) / k**0.7 for k in range(1, 40))
    times = _LENGTH // period
    steady = np.tile(hum, times) * _slow_drift(rng, 0.1)
    return steady + 0.12 * np.tile(buzz, times) * _slow_drift(rng, 0.3)


def _engine(rng: np.random.Generator) -> Float64Array:
    """A four-cylinder, four-stroke engine at 1700 to 1900 revolutions a minute, with road noise."""
    cycle_hz = 15.0  # two revolutions
    table = np.arange(1024) / 1024
    orders = np.arange(1, 65)
    # Every fourth order is common to all cylinders: the firing rate and its multiples.
    levels = np.where(orders % 4 == 0, 1.0, 0.12) * (orders / 4.0) ** -0.8
    turns = np.outer(orders, table) + rng.random(orders.size)[:, np.newaxis]
    cycle = levels @ np.sin(2 * np.pi * turns)
    time_s = np.arange(_LENGTH) / SAMPLE_RATE
    position = cycle_hz * time_s + 8.0 * (_slow_drift(rng, 0.05) - 1)
    engine = np.interp(position % 1.0, np.append(table, 1.0), np.append(cycle, cycle[0]))
    firing = 1 + 0.5 * np.sin(2 * np.pi * 4 * position)
    return np.asarray(engine + 0.35 * _coloured(rng, 0.6) * firing)


def _rain(rng: np.random.Generator) -> Float64Array:
    """Rain: about 700 nearby drops of all sizes a second over the rush of distant ones."""
    time_s = np.arange(96) / SAMPLE_RATE
    pitches_hz = 900 * 2 ** (2.8 * rng.random(24))
    decays_s = 0.0006 + 0.0014 * rng.random(24)
    drops = np.sin(2 * np.pi * np.outer(pitches_hz, time_s))
    drops = remove_offset(drops, np.exp(-time_s / decays_s[:, None]))
    near = _scattered(rng, drops, per_s=700, log_std=0.9)
    rush = _coloured(rng, 0.15)
    return np.asarray(near / near.std() + 0.6 * rush)


def _crackle(rng: np.random.Generator) -> Float64Array:
    """An old record: about 40 short bursts a second of very unequal strength, and a faint hiss."""
    time_s = np.arange(128) / SAMPLE_RATE
    decays_s = 0.0003 + 0.0012 * rng.random(32)
    bursts = remove_offset(rng.standard_normal((32, 128)), np.exp(-time_s / decays_s[:, None]))
    crackle = _scattered(rng, bursts, per_s=40, log_std=0.5)
    return np.asarray(crackle / crackle.std() + 0.1 * rng.standard_normal(_LENGTH))


def _babble(rng: np.random.Generator) -> Float64Array:
    """Babble of five talkers, without words."""
    return synthetic_babble(rng, _LENGTH)


def _coloured(rng: np.random.Generator, slope: float) -> Float64Array:
    """Return noise [time] of RMS 1 with amplitudes falling as 1 / f^slope, flat below 30 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(_LENGTH))
    frequency = np.maximum(np.arange(spectrum.size) / _SECONDS, _MIN_HZ)
    spectrum *= frequency**-slope
    spectrum[0] = 0.0
    noise = np.fft.irfft(spectrum, _LENGTH)
    return np.asarray(noise / noise.std())


def _slow_drift(rng: np.random.Generator, depth: float) -> Float64Array:
    """Return a slow curve around 1 [time] that ends where it started."""
    # A point every 10 ms is enough for a few cycles in 30 s.
    coarse = np.arange(_SECONDS * 100 + 1) / (_SECONDS * 100)
    cycles = (2, 3, 5, 8)
    waves = sum(np.sin(2 * np.pi * (k * coarse + rng.random())) for k in cycles) / len(cycles)
    fine = np.arange(_LENGTH) / _LENGTH
    return np.interp(fine, coarse, 1 + depth * waves)


def _scattered(
    rng: np.random.Generator, shapes: Float64Array, *, per_s: float, log_std: float
) -> Float64Array:
    """Return the sum [time] of copies of the shapes at random times.

    The number of copies is fixed; their amplitudes are log-normal.

    Args:
        rng: random stream.
        shapes: short sounds to copy, float64 array [shape, time].
        per_s: copies per second.
        log_std: standard deviation of the natural logarithm of the amplitudes.
    """
    count = round(per_s * _SECONDS)
    starts = (rng.random(count) * _LENGTH).astype(np.int64)
    selected = (rng.random(count) * len(shapes)).astype(np.int64)
    amplitudes = np.exp(log_std * rng.standard_normal(count))
    shape_length = shapes.shape[1]
    indices = starts[:, None] + np.arange(shape_length)
    weights = shapes[selected] * amplitudes[:, None]
    total = _LENGTH + shape_length
    summed: Float64Array = np.bincount(indices.ravel(), weights.ravel(), total).astype(np.float64)
    summed[:shape_length] += summed[_LENGTH:total]  # the end continues at the beginning
    return summed[:_LENGTH]


_GENERATORS: dict[str, Callable[[np.random.Generator], Float64Array]] = {
    "white": _white,
    "pink": _pink,
    "brown": _brown,
    "hum": _hum,
    "engine": _engine,
    "rain": _rain,
    "crackle": _crackle,
    "babble": _babble,
}
NAMES = tuple(_GENERATORS)
"""Names of the built-in noises, without the prefix `builtin:`."""
