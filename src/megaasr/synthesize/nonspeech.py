"""Synthesise sounds without speech, for which a recogniser must return no text.

They are the `language None` examples of `tiny` and `small`. Every sound is a function of the random
generator; none is recorded.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.waveform import SAMPLE_RATE, Samples

_NOTES_HZ = 220.0 * 2 ** (np.arange(25) / 12)


def draw_nonspeech(rng: np.random.Generator, *, min_s: float = 0.5, max_s: float = 12.0) -> Samples:
    """Synthesise a sound of random kind, length and level.

    Args:
        rng: random generator.
        min_s, max_s: range of the length in seconds.

    Returns:
        float32 array [time] at 16 kHz, with a peak of -50 to -1 dBFS for every kind.
    """
    count = round(float(np.exp(rng.uniform(np.log(min_s), np.log(max_s)))) * SAMPLE_RATE)
    kinds = list(KINDS.values())
    sound = kinds[int(rng.integers(len(kinds)))](rng, count)
    if rng.random() < 0.5:
        sound = sound + 10 ** rng.uniform(-4, -1.5) * noise(rng, count)
    peak = float(np.abs(sound).max())
    level = 10 ** (rng.uniform(-50.0, -1.0) / 20)
    return (sound * (level / max(peak, 1e-9))).astype(np.float32)


def noise(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return noise with a slope of 0 to -6 dB per octave (white, pink, brown) and peak 1."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    slope = rng.uniform(0.0, 1.0)
    octave = np.maximum(np.arange(spectrum.size), 1.0 + 20.0 * count / SAMPLE_RATE)
    shaped = np.fft.irfft(spectrum * octave**-slope, count)
    return np.asarray(shaped / max(float(np.abs(shaped).max()), 1e-12))


def silence(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return the noise floor of a quiet recorder, which `draw_nonspeech` scales to its level."""
    return 1e-4 * noise(rng, count)


def hum(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return mains hum: 50 or 60 Hz with harmonics of decreasing level."""
    base = 50.0 if rng.random() < 0.5 else 60.0
    time = np.arange(count) / SAMPLE_RATE
    harmonics = range(1, int(rng.integers(3, 12)))
    return np.asarray(
        sum(np.sin(2 * np.pi * base * k * time + rng.uniform(0, 6.28)) / k for k in harmonics)
    )


def tones(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return beeps: one frequency, switched on and off."""
    time = np.arange(count) / SAMPLE_RATE
    period = rng.uniform(0.2, 2.0)
    gate = (time % period) < period * rng.uniform(0.2, 1.0)
    return np.asarray(np.sin(2 * np.pi * rng.uniform(200, 3000) * time) * gate)


def music(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return something like music: decaying chords of a few harmonics, on a random beat."""
    sound = np.zeros(count)
    beat = int(rng.uniform(0.15, 0.6) * SAMPLE_RATE)
    for start in range(0, count, beat):
        time = np.arange(min(count - start, 4 * beat)) / SAMPLE_RATE
        decay = np.exp(-time / rng.uniform(0.1, 0.6))
        for note in rng.choice(_NOTES_HZ, size=int(rng.integers(1, 4))):
            for harmonic in range(1, 5):
                wave = np.sin(2 * np.pi * note * harmonic * time)
                sound[start : start + time.size] += decay * wave / harmonic**1.5
    return sound


def engine(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return an engine or fan: noise whose level oscillates 1 to 30 times a second."""
    time = np.arange(count) / SAMPLE_RATE
    swing = 1 + rng.uniform(0.2, 0.9) * np.sin(2 * np.pi * rng.uniform(1, 30) * time)
    return noise(rng, count) * swing


def clicks(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return taps and crackle: short bursts at random times."""
    sound = np.zeros(count)
    burst = int(rng.uniform(0.002, 0.03) * SAMPLE_RATE)
    shape = np.exp(-np.arange(burst) / (burst / 4))
    rate = rng.uniform(1, 12)
    for start in rng.integers(0, max(1, count - burst), size=1 + int(rate * count / SAMPLE_RATE)):
        stop = min(count, int(start) + burst)
        sound[start:stop] += (shape * rng.standard_normal(burst))[: stop - int(start)]
    return sound


KINDS: dict[str, Callable[[np.random.Generator, int], NDArray[np.float64]]] = {
    "noise": noise,
    "silence": silence,
    "hum": hum,
    "tones": tones,
    "music": music,
    "engine": engine,
    "clicks": clicks,
}
"""Generators by kind; their arguments are the random generator and the number of samples."""
