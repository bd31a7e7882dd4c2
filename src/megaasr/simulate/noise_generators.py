"""Built-in noises, so that the simulator works without any data.

Each is a table of int16 samples at 16 kHz, its peak 0.9 of full scale, that repeats without a
seam. It is made once per process from a fixed random stream, so a name stands for the same bytes
everywhere; draws name them, so what a name sounds like must not change.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.errors import UsageError
from megaasr.simulate.babble import PEAK_STEPS, synthetic_babble, without_offset
from megaasr.simulate.streams import stream, stream_key

BUILTIN = "builtin:"
"""What the names of built-in noises begin with in a draw."""

Samples = NDArray[np.float64]
_SECONDS = 30
_LENGTH = _SECONDS * SAMPLE_RATE
_WHITE_LENGTH = 2**20  # 65.5 s
_LOWEST_HZ = 30.0


@cache
def builtin_noise(name: str) -> NDArray[np.int16]:
    """Return a built-in noise: int16 [time], 16 kHz, read-only, 30 s long (white: 65.5 s).

    Args:
        name: one of `NAMES`, without `builtin:`.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in _GENERATORS:
        raise UsageError(f"no built-in noise is called {name}; there are {', '.join(NAMES)}")
    sound = _GENERATORS[name](stream(stream_key(0, BUILTIN + name, 0, "noise")))
    steps = np.asarray(np.rint(sound * (PEAK_STEPS / np.abs(sound).max())), np.int16)
    steps.setflags(write=False)  # it is shared by all users in this process
    return steps


def _white(rng: np.random.Generator) -> Samples:
    """Equal power at all frequencies."""
    return rng.standard_normal(_WHITE_LENGTH)


def _pink(rng: np.random.Generator) -> Samples:
    """Power falls by 3 dB per octave."""
    return _coloured(rng, 0.5)


def _brown(rng: np.random.Generator) -> Samples:
    """Power falls by 6 dB per octave."""
    return _coloured(rng, 1.0)


def _hum(rng: np.random.Generator) -> Samples:
    """Mains hum: 50 Hz, its harmonics, and the buzz of a rectifier (multiples of 100 Hz)."""
    period = SAMPLE_RATE // 50
    cycle = np.arange(period) / period
    hum = np.zeros(period)
    for harmonic, level in enumerate((1.0, 0.7, 0.45, 0.3, 0.2, 0.16, 0.1, 0.1, 0.07, 0.06), 1):
        hum += level * np.sin(2 * np.pi * (harmonic * cycle + rng.random()))
    buzz = sum(np.cos(2 * np.pi * 2 * k * cycle) / k**0.7 for k in range(1, 40))
    times = _LENGTH // period
    steady = np.tile(hum, times) * _wandering(rng, 0.1)
    return steady + 0.12 * np.tile(buzz, times) * _wandering(rng, 0.3)


def _engine(rng: np.random.Generator) -> Samples:
    """A four-stroke engine with four cylinders at 1700 to 1900 revolutions a minute, on a road."""
    cycle_hz = 15.0  # two revolutions
    table = np.arange(1024) / 1024
    orders = np.arange(1, 65)
    # Every fourth order is one that all cylinders share: the firing rate and its multiples.
    levels = np.where(orders % 4 == 0, 1.0, 0.12) * (orders / 4.0) ** -0.8
    turns = np.outer(orders, table) + rng.random(orders.size)[:, np.newaxis]
    cycle = levels @ np.sin(2 * np.pi * turns)
    time_s = np.arange(_LENGTH) / SAMPLE_RATE
    position = cycle_hz * time_s + 8.0 * (_wandering(rng, 0.05) - 1)
    sound = np.interp(position % 1.0, np.append(table, 1.0), np.append(cycle, cycle[0]))
    firing = 1 + 0.5 * np.sin(2 * np.pi * 4 * position)
    return np.asarray(sound + 0.35 * _coloured(rng, 0.6) * firing)


def _rain(rng: np.random.Generator) -> Samples:
    """Drops of all sizes, some 700 a second, over the rush of those further away."""
    time_s = np.arange(96) / SAMPLE_RATE
    pitches_hz = 900 * 2 ** (2.8 * rng.random(24))
    decays_s = 0.0006 + 0.0014 * rng.random(24)
    drops = np.sin(2 * np.pi * np.outer(pitches_hz, time_s))
    drops = without_offset(drops, np.exp(-time_s / decays_s[:, None]))
    near = _scattered(rng, drops, per_s=700, spread=0.9)
    rush = _coloured(rng, 0.15)
    return np.asarray(near / near.std() + 0.6 * rush)


def _crackle(rng: np.random.Generator) -> Samples:
    """Short bursts of very unequal strength, some 40 a second, and a faint hiss: an old record."""
    time_s = np.arange(128) / SAMPLE_RATE
    decays_s = 0.0003 + 0.0012 * rng.random(32)
    bursts = without_offset(rng.standard_normal((32, 128)), np.exp(-time_s / decays_s[:, None]))
    sound = _scattered(rng, bursts, per_s=40, spread=0.5)
    return np.asarray(sound / sound.std() + 0.1 * rng.standard_normal(_LENGTH))


def _babble(rng: np.random.Generator) -> Samples:
    """Five people who talk at once, without words."""
    return synthetic_babble(rng, _LENGTH)


def _coloured(rng: np.random.Generator, slope: float) -> Samples:
    """Return noise [time] of RMS 1 with amplitudes as 1 / f^slope, level below 30 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(_LENGTH))
    frequency = np.maximum(np.arange(spectrum.size) / _SECONDS, _LOWEST_HZ)
    spectrum *= frequency**-slope
    spectrum[0] = 0.0
    sound = np.fft.irfft(spectrum, _LENGTH)
    return np.asarray(sound / sound.std())


def _wandering(rng: np.random.Generator, depth: float) -> Samples:
    """Return a slow curve around 1 [time] that comes back to where it began."""
    # A point every 10 ms is enough for a few rounds in 30 s.
    coarse = np.arange(_SECONDS * 100 + 1) / (_SECONDS * 100)
    rounds = (2, 3, 5, 8)
    waves = sum(np.sin(2 * np.pi * (k * coarse + rng.random())) for k in rounds) / len(rounds)
    at = np.arange(_LENGTH) / _LENGTH
    return np.interp(at, coarse, 1 + depth * waves)


def _scattered(
    rng: np.random.Generator, shapes: Samples, *, per_s: float, spread: float
) -> Samples:
    """Return copies of the shapes [shape, time] at random moments.

    The number of copies is fixed; their amplitudes are log-normal.

    Args:
        rng: the random stream.
        shapes: what is copied.
        per_s: copies per second.
        spread: standard deviation of the amplitudes' natural logarithm.
    """
    count = round(per_s * _SECONDS)
    begins = (rng.random(count) * _LENGTH).astype(np.int64)
    which = (rng.random(count) * len(shapes)).astype(np.int64)
    amplitudes = np.exp(spread * rng.standard_normal(count))
    longest = shapes.shape[1]
    places = begins[:, None] + np.arange(longest)
    weights = shapes[which] * amplitudes[:, None]
    beyond = _LENGTH + longest
    sound: Samples = np.bincount(places.ravel(), weights.ravel(), beyond).astype(np.float64)
    sound[:longest] += sound[_LENGTH:beyond]
    return sound[:_LENGTH]


_GENERATORS: dict[str, Callable[[np.random.Generator], Samples]] = {
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
