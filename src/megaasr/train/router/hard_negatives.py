"""Clean speech that a router easily confuses with degraded speech: quiet, soft tones, telephone.

All three count as clean under the label `degraded`. Quiet: a low level is not a degradation. Tones:
music far below the voice masks no word. Telephone: 300 to 3,400 Hz preserve all words. It is the
hardest of the three, since real degradations leave narrow bands, too, and with telephone codecs
among the degraded clips it teaches the opposite of what they do. A recipe therefore chooses the
ways that it trains with; the metrics report all three.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.signal import butter, sosfiltfilt

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.train.router.recipe import HardNegative

_CHORDS = ((0, 4, 7), (0, 3, 7), (0, 5, 9), (0, 4, 7, 11))
"""Semitones above the root."""


def quiet(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return the clip at a level of -60 to -45 dBFS (RMS), rounded to 16 bits as in files."""
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)) + 1e-20))
    gain = 10 ** (rng.uniform(-60.0, -45.0) / 20) / level
    scaled = np.round(samples * gain * 32_768)
    return (np.clip(scaled, -32_768, 32_767) / 32_768).astype(np.float32)


def tones(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return the clip with chords of a few overtones, 25 to 35 dB below it."""
    music = np.zeros(samples.size)
    time = np.arange(samples.size) / SAMPLE_RATE
    length = int(SAMPLE_RATE * rng.uniform(0.4, 1.2))
    for start in range(0, samples.size, length):
        root = 110.0 * 2 ** (rng.integers(0, 24) / 12)
        part = slice(start, start + length)
        for semitones in _CHORDS[int(rng.integers(len(_CHORDS)))]:
            pitch = root * 2 ** (semitones / 12)
            for overtone in (1, 2, 3):
                phase = rng.uniform(0, 2 * np.pi)
                wave = np.sin(2 * np.pi * overtone * pitch * time[part] + phase)
                music[part] += wave / overtone**1.5
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    scale = np.sqrt(power / (np.mean(music**2) + 1e-20)) * 10 ** (-rng.uniform(25.0, 35.0) / 20)
    return np.asarray(samples + scale * music, dtype=np.float32)


def telephone(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return the clip in the band of a telephone, with slightly varied band edges.

    A clip too short for the filter is returned unchanged.
    """
    edges = [300.0 * rng.uniform(0.9, 1.1), 3_400.0 * rng.uniform(0.95, 1.05)]
    sections = butter(4, edges, btype="bandpass", fs=SAMPLE_RATE, output="sos")
    padding = 3 * (2 * len(sections) + 1)  # samples that the filter needs at both ends
    if samples.size <= 2 * padding:
        return samples
    return np.asarray(sosfiltfilt(sections, samples), dtype=np.float32)


HARD_NEGATIVES: dict[HardNegative, Callable[[Samples, np.random.Generator], Samples]] = {
    "quiet": quiet,
    "tones": tones,
    "telephone": telephone,
}
"""The changes by their names in the metrics."""
