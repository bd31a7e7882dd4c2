"""Short sounds that noises are made of: impacts, bursts and whistles; float64 arrays [time]."""

from __future__ import annotations

import numpy as np

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.simulate.families.circular import Float64Array, from_table

_RAMP_S = 0.004


def seconds(duration_s: float) -> Float64Array:
    """Return the times in seconds of the samples of a sound, at least 16 of them."""
    return np.arange(max(16, round(duration_s * SAMPLE_RATE))) / SAMPLE_RATE


def ramped(sound: Float64Array, ramp_s: float = _RAMP_S) -> Float64Array:
    """Return a sound that begins and ends without a click."""
    count = max(1, min(sound.size // 2, round(ramp_s * SAMPLE_RATE)))
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(count) + 0.5) / count)
    shaped = sound.copy()
    shaped[:count] *= ramp
    shaped[-count:] *= ramp[::-1]
    return shaped


def struck(modes_hz: Float64Array, decays_s: Float64Array, levels: Float64Array) -> Float64Array:
    """Return the sound of a struck body: decaying sines, which begin together.

    Args:
        modes_hz: frequency of each mode, float64 array [mode]; those above 7.8 kHz are left out.
        decays_s: time in which each falls by 60 dB, float64 array [mode].
        levels: amplitude of each, float64 array [mode].
    """
    time = seconds(min(6.0, float(decays_s.max())))
    sound = np.zeros(time.size)
    for hz, decay_s, level in zip(modes_hz, decays_s, levels, strict=True):
        if hz < 7800:
            sound += level * np.sin(2 * np.pi * hz * time) * np.exp(-6.9 * time / decay_s)
    fade = min(time.size, round(0.005 * SAMPLE_RATE))
    sound[-fade:] *= np.linspace(1, 0, fade)
    return sound


def random_modes(
    rng: np.random.Generator, low_hz: float, high_hz: float, count: int
) -> Float64Array:
    """Return random frequencies [mode], sorted; their logarithms are uniform between the limits."""
    return np.asarray(np.sort(low_hz * (high_hz / low_hz) ** rng.random(count)))


def burst(rng: np.random.Generator, duration_s: float, decay_s: float) -> Float64Array:
    """Return white noise of RMS 1 at its start that falls by 60 dB in the time `decay_s`."""
    time = seconds(duration_s)
    return ramped(rng.standard_normal(time.size) * np.exp(-6.9 * time / decay_s), 0.0004)


def smoothed(sound: Float64Array, cutoff_hz: float) -> Float64Array:
    """Return a sound without its high frequencies: each sample is a mean under a Hann window."""
    count = max(3, round(SAMPLE_RATE / cutoff_hz))
    window = np.hanning(count + 2)[1:-1]
    return np.convolve(sound, window / window.sum(), "same")


def gliding(frequency_hz: Float64Array, table: Float64Array | None = None) -> Float64Array:
    """Return a tone whose frequency follows a curve [time]; a sine unless a cycle is given."""
    phase = np.cumsum(frequency_hz) / SAMPLE_RATE
    return np.sin(2 * np.pi * phase) if table is None else from_table(table, phase)


def equal_lengths(sounds: list[Float64Array]) -> Float64Array:
    """Return sounds as an array [sound, time], with zeros after the shorter ones."""
    length = max(sound.size for sound in sounds)
    return np.stack([np.pad(sound, (0, length - sound.size)) for sound in sounds])
