"""Speech-like sound for the properties of the simulator."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from megaasr.audio.waveform import Samples

RATE = 16_000


def bursts(seed: int, samples: int) -> Samples:
    """Coloured noise in syllables with pauses, and a faint floor; peaks at -34 to -2 dBFS."""
    rng = np.random.default_rng(seed)
    envelope = np.zeros(samples)
    start = 0
    while start < samples:
        length = int(rng.integers(800, 6400))
        shape = np.hanning(length + 2)[1:-1] ** 0.3 * 10 ** rng.uniform(-0.6, 0)
        envelope[start : start + length] = shape[: samples - start]
        start += length + int(rng.choice([0, 400, 16_000]) * rng.random())
    voice = lfilter([1.0], [1.0, -1.6, 0.8], rng.standard_normal(samples))
    sound = envelope * voice / (np.abs(voice).max() + 1e-9)
    sound += 10 ** rng.uniform(-5, -3) * rng.standard_normal(samples)
    scale = 10 ** rng.uniform(-1.7, -0.1) / np.abs(sound).max()
    return (scale * sound).astype(np.float32)
