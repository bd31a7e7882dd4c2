"""Babble noise: several people talking at once, synthetic or mixed from recorded speech."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.errors import UsageError
from megaasr.simulate.primitives.noise import speech_power

Float64Array = NDArray[np.float64]
PEAK_LEVEL = 0.9 * 2**15
"""Peak of a noise in units of 16-bit levels, 0.9 dB below full scale."""

# Mean first three formants in Hz of English vowels spoken by men (Peterson and Barney 1952): heed,
# hid, head, had, hod, hawed, hood, who'd, hud, heard. The fourth is fixed at 3500 Hz.
_FORMANTS_HZ = np.array(
    [
        [270, 2290, 3010],
        [390, 1990, 2550],
        [530, 1840, 2480],
        [660, 1720, 2410],
        [730, 1090, 2440],
        [570, 840, 2410],
        [440, 1020, 2240],
        [300, 870, 2240],
        [640, 1190, 2390],
        [490, 1350, 1690],
    ]
)
_FOURTH_HZ = 3500.0
_BANDWIDTHS_HZ = np.array([70.0, 100.0, 150.0, 250.0])
_AMPLITUDES = np.array([1.0, 0.5, 0.18, 0.06])
_RESPONSE_SAMPLES = 256
# Pitch in Hz and formant scale (for the length of the vocal tract) of each talker.
TALKERS = ((95.0, 1.0), (118.0, 0.97), (165.0, 1.1), (205.0, 1.17), (228.0, 1.2))
_GRID_HZ = 1000  # rate of the pitch and loudness curves


def synthetic_babble(rng: np.random.Generator, samples: int) -> Float64Array:
    """Synthesise babble without words by five talkers.

    Each talker speaks phrases of syllables with pauses between them; the pitch falls during a
    phrase and rises on stressed syllables. Every glottal pulse excites the formants of its vowel,
    and about half of the syllables begin with a hiss. The babble repeats without a seam.

    Args:
        rng: random stream.
        samples: length of the babble in samples at 16 kHz.

    Returns:
        float64 array [samples] of arbitrary level.
    """
    babble = np.zeros(samples)
    hiss = np.zeros(-(-samples * _GRID_HZ // SAMPLE_RATE))
    for pitch_hz, formant_scale in TALKERS:
        talker = _Talker(rng, len(hiss))
        level = 10 ** (rng.uniform(-3, 3) / 20)
        babble += level * talker.voiced(pitch_hz, formant_scale, samples, rng)
        hiss += level * talker.hiss
    babble += 0.15 * _noise_band(rng, samples) * _at_sample_rate(hiss, samples)
    return babble


def single_talker(
    rng: np.random.Generator, samples: int, pitch_hz: float, formant_scale: float
) -> Float64Array:
    """Synthesise a talker without words, as in `synthetic_babble`, which repeats without a seam.

    Args:
        rng: random stream.
        samples: length in samples at 16 kHz.
        pitch_hz: mean pitch of the voice, 60 to 400.
        formant_scale: frequencies of the formants relative to those of a man, 0.8 to 1.4.

    Returns:
        float64 array [samples] of arbitrary level.
    """
    talker = _Talker(rng, -(-samples * _GRID_HZ // SAMPLE_RATE))
    voiced = talker.voiced(pitch_hz, formant_scale, samples, rng)
    return voiced + 0.15 * _noise_band(rng, samples) * _at_sample_rate(talker.hiss, samples)


def babble_from(
    voices: Sequence[NDArray[np.float32]], rng: np.random.Generator, samples: int
) -> NDArray[np.int16]:
    """Mix the speech of several people into babble.

    Args:
        voices: speech of one person each, float32 arrays [time] at 16 kHz, at least one. Each is
            repeated from a random position, at a level within 3 dB of the mean.
        rng: random stream.
        samples: length of the babble in samples, at least 1.

    Returns:
        int16 array [samples] with its peak 0.9 dB below full scale.

    Raises:
        UsageError: there are no voices, or one of them is silent.
    """
    if not voices:
        raise UsageError("babble needs the speech of one person at least")
    mixed = np.zeros(samples)
    for number, voice in enumerate(voices):
        power = speech_power(np.ascontiguousarray(voice, np.float32)) if voice.size else 0.0
        if power <= 0:
            raise UsageError(f"voice {number} of the babble is silent; leave it out")
        gain = 10 ** (rng.uniform(-3, 3) / 20) / np.sqrt(power)
        start = int(rng.integers(voice.size))
        mixed += gain * np.resize(np.roll(voice, -start), samples)
    return at_peak_level(mixed)


def at_peak_level(sound: Float64Array) -> NDArray[np.int16]:
    """Return a sound that is not silent as an int16 array [time] whose peak is `PEAK_LEVEL`."""
    return np.asarray(np.rint(sound * (PEAK_LEVEL / np.abs(sound).max())), np.int16)


def remove_offset(shapes: Float64Array, envelopes: Float64Array) -> Float64Array:
    """Return shapes times envelopes, each shape shifted so that the product sums to zero.

    A microphone does not record constant pressure; pulses that had some would add up to a rumble.

    Args:
        shapes: float64 array [shape, time].
        envelopes: float64 array [shape, time], or [time] for all shapes.
    """
    offset = (shapes * envelopes).sum(axis=-1, keepdims=True)
    offset = offset / envelopes.sum(axis=-1, keepdims=True)
    return np.asarray((shapes - offset) * envelopes)


class _Talker:
    """The syllables of one talker: curves on a grid of 1 ms [grid], and values per syllable."""

    def __init__(self, rng: np.random.Generator, grid: int) -> None:
        count = 12 * grid // _GRID_HZ  # more syllables than anyone speaks
        lengths = 0.12 + 0.16 * rng.random(count)
        ends_phrase = rng.random(count) < 0.14
        pauses = ends_phrase * (0.25 + 0.6 * rng.random(count))
        ends = np.cumsum(lengths + pauses)
        syllables = int(np.searchsorted(ends, grid / _GRID_HZ))
        # Stretched slightly, so that a whole number of syllables fills the time.
        time_scale = grid / _GRID_HZ / ends[syllables - 1]
        starts = np.concatenate([[0.0], ends[: syllables - 1]]) * time_scale
        time_s = (np.arange(grid) + 0.5) / _GRID_HZ
        self.syllable = np.searchsorted(starts, time_s, side="right") - 1
        phase = (time_s - starts[self.syllable]) / (lengths[:syllables] * time_scale)[self.syllable]
        self.phase = np.minimum(phase, 1.0)  # 0..1 within the syllable, 1 in the pause after it
        self.vowels = rng.integers(len(_FORMANTS_HZ), size=syllables)
        self.stress = rng.random(syllables)
        phrase = np.concatenate([[0], np.cumsum(ends_phrase[: syllables - 1])])
        position = np.arange(syllables) - np.searchsorted(phrase, phrase)
        size = np.bincount(phrase)[phrase]
        self.declination = 1.12 - 0.24 * position / size
        self.loudness = np.sin(np.pi * np.clip((self.phase - 0.15) / 0.85, 0, 1)) ** 1.5
        self.loudness *= (0.4 + 0.6 * self.stress)[self.syllable]
        starts_with_hiss = (rng.random(syllables) < 0.5)[self.syllable]
        self.hiss = starts_with_hiss * np.sin(np.pi * np.clip(self.phase / 0.3, 0, 1)) ** 2

    def voiced(
        self, pitch_hz: float, formant_scale: float, samples: int, rng: np.random.Generator
    ) -> Float64Array:
        """Return the voiced part of the talker's speech, float64 array [samples]."""
        intonation = 1 + 0.15 * self.stress[self.syllable] * np.sin(np.pi * self.phase)
        pitch = pitch_hz * self.declination[self.syllable] * intonation
        cycles = np.cumsum(pitch) / _GRID_HZ
        pulses_s = np.interp(np.arange(1, int(cycles[-1])), cycles, np.arange(pitch.size))
        grid_points = pulses_s.astype(np.int64)
        strength = self.loudness[grid_points] * (1 + 0.1 * rng.standard_normal(grid_points.size))
        audible = strength > 1e-3
        grid_points, strength = grid_points[audible], strength[audible]
        starts = np.rint(pulses_s[audible] * SAMPLE_RATE / _GRID_HZ).astype(np.int64)
        syllable = self.syllable[grid_points]
        # Towards its end, a vowel glides into the next one.
        glide = np.clip((self.phase[grid_points] - 0.6) / 0.8, 0, 1)
        responses = _vowel_responses(formant_scale)
        pulses = responses[self.vowels[syllable]] * (strength * (1 - glide))[:, np.newaxis]
        next_vowel = self.vowels[(syllable + 1) % self.vowels.size]
        pulses += responses[next_vowel] * (strength * glide)[:, np.newaxis]
        indices = starts[:, np.newaxis] + np.arange(_RESPONSE_SAMPLES)
        speech = np.bincount(indices.ravel() % samples, pulses.ravel(), samples)
        return speech.astype(np.float64)


def _vowel_responses(formant_scale: float) -> Float64Array:
    """Return the response to a glottal pulse in each vowel, float64 array [vowel, time]."""
    time_s = np.arange(_RESPONSE_SAMPLES) / SAMPLE_RATE
    fourth = np.full((len(_FORMANTS_HZ), 1), _FOURTH_HZ)
    formants_hz = formant_scale * np.concatenate([_FORMANTS_HZ, fourth], axis=1)[..., np.newaxis]
    decays = _AMPLITUDES[:, np.newaxis] * np.exp(-np.pi * _BANDWIDTHS_HZ[:, np.newaxis] * time_s)
    fade = 0.5 + 0.5 * np.cos(np.pi * np.arange(_RESPONSE_SAMPLES) / _RESPONSE_SAMPLES)
    decaying_sines = (decays * np.sin(2 * np.pi * formants_hz * time_s)).sum(axis=1)
    responses = remove_offset(decaying_sines, fade)
    return np.asarray(responses / np.sqrt(np.square(responses).sum(axis=1, keepdims=True)))


def _noise_band(rng: np.random.Generator, samples: int) -> Float64Array:
    """Return noise around 3.5 kHz with an RMS of about 1/3, a mixture of s, sh and f."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    octaves = np.log2(np.maximum(np.fft.rfftfreq(samples, 1 / SAMPLE_RATE), 1.0) / 3500)
    return np.asarray(np.fft.irfft(spectrum * np.exp(-((octaves / 0.5) ** 2)), samples))


def _at_sample_rate(curve: Float64Array, samples: int) -> Float64Array:
    grid_positions = np.arange(samples) * (_GRID_HZ / SAMPLE_RATE)
    return np.asarray(np.interp(grid_positions, np.arange(curve.size), curve))
