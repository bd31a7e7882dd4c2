"""Clean speech that a router easily takes for degraded: quiet, with soft tones, by telephone.

All three count as clean under the label `degraded`. Quiet: a level is no damage. Tones: music far
below the voice does not mask a word. Telephone: 300 to 3,400 Hz carries the words whole; it is the
hardest of the three, since narrow bands are also what real damage leaves, so it is reported apart
and nothing is promised about it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.signal import butter, sosfiltfilt

from megaasr.audio.waveform import SAMPLE_RATE, Samples

_CHORDS = ((0, 4, 7), (0, 3, 7), (0, 5, 9), (0, 4, 7, 11))


def quiet(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return the clip at a level from -60 to -45 dBFS (RMS), rounded to 16 bit as files are."""
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)) + 1e-20))
    gain = 10 ** (rng.uniform(-60.0, -45.0) / 20) / level
    scaled = np.round(samples * gain * 32_768)
    return (np.clip(scaled, -32_768, 32_767) / 32_768).astype(np.float32)


def tones(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return the clip with chords of a few overtones, 25 to 35 dB below it."""
    found = np.zeros(samples.size)
    time = np.arange(samples.size) / SAMPLE_RATE
    length = int(SAMPLE_RATE * rng.uniform(0.4, 1.2))
    for start in range(0, samples.size, length):
        root = 110.0 * 2 ** (rng.integers(0, 24) / 12)
        part = slice(start, start + length)
        for step in _CHORDS[int(rng.integers(len(_CHORDS)))]:
            pitch = root * 2 ** (step / 12)
            for overtone in (1, 2, 3):
                phase = rng.uniform(0, 2 * np.pi)
                wave = np.sin(2 * np.pi * overtone * pitch * time[part] + phase)
                found[part] += wave / overtone**1.5
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    scale = np.sqrt(power / (np.mean(found**2) + 1e-20)) * 10 ** (-rng.uniform(25.0, 35.0) / 20)
    return np.asarray(samples + scale * found, dtype=np.float32)


def telephone(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return the clip in the band of a telephone, its edges a little different each time."""
    edges = [300.0 * rng.uniform(0.9, 1.1), 3_400.0 * rng.uniform(0.95, 1.05)]
    sections = butter(4, edges, btype="bandpass", fs=SAMPLE_RATE, output="sos")
    shortest = 3 * (2 * len(sections) + 1)  # what the filter needs at both ends
    if samples.size <= 2 * shortest:
        return samples
    return np.asarray(sosfiltfilt(sections, samples), dtype=np.float32)


HARD: dict[str, Callable[[Samples, np.random.Generator], Samples]] = {
    "quiet": quiet,
    "tones": tones,
    "telephone": telephone,
}
"""By name, as metrics report them."""
