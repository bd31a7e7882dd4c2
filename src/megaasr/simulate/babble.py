"""Babble: many people who talk at once, synthetic or from given speech."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.errors import UsageError
from megaasr.simulate.primitives.noise import speech_power

Samples = NDArray[np.float64]
PEAK_STEPS = 0.9 * 2**15

# First three formants in Hz of men's English vowels (Peterson and Barney 1952, means), as in
# heed, hid, head, had, hod, hawed, hood, who'd, hud, heard; the fourth is set to 3500.
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
# Pitch in Hz and vocal tract (formants times this) of the talkers.
_TALKERS = ((95.0, 1.0), (118.0, 0.97), (165.0, 1.1), (205.0, 1.17), (228.0, 1.2))
_GRID_HZ = 1000  # of pitch and loudness


def synthetic_babble(rng: np.random.Generator, samples: int) -> Samples:
    """Return talk without words by five talkers: float64 [time], 16 kHz, level not set.

    Each speaks phrases of syllables with pauses between; the pitch falls through a phrase and
    rises on stressed syllables. Every glottal pulse rings in the formants of its vowel; about
    half of the syllables begin with a hiss. The end leads over into the beginning.
    """
    babble = np.zeros(samples)
    hiss = np.zeros(-(-samples * _GRID_HZ // SAMPLE_RATE))
    for pitch_hz, tract in _TALKERS:
        talk = _Talk(rng, len(hiss))
        level = 10 ** (rng.uniform(-3, 3) / 20)
        babble += level * talk.voice(pitch_hz, tract, samples, rng)
        hiss += level * talk.hiss
    babble += 0.15 * _noise_band(rng, samples) * _at_sample_rate(hiss, samples)
    return babble


def babble_from(
    voices: Sequence[NDArray[np.float32]], rng: np.random.Generator, samples: int
) -> NDArray[np.int16]:
    """Mix speech into babble.

    Args:
        voices: float32 [time] at 16 kHz each, one or more people's speech. All are heard, at
            equal levels give or take 3 dB, from a random place on and repeated.
        rng: the random stream.
        samples: length of the babble, at least 1.

    Returns:
        int16 [samples], its peak 1 dB below full scale.

    Raises:
        UsageError: no voices, or one of them silent.
    """
    if not voices:
        raise UsageError("babble needs the speech of one person at least")
    mixed = np.zeros(samples)
    for number, voice in enumerate(voices):
        power = speech_power(np.ascontiguousarray(voice, np.float32)) if voice.size else 0.0
        if power <= 0:
            raise UsageError(f"voice {number} of the babble is silent; leave it out")
        gain = 10 ** (rng.uniform(-3, 3) / 20) / np.sqrt(power)
        begin = int(rng.integers(voice.size))
        mixed += gain * np.resize(np.roll(voice, -begin), samples)
    return np.asarray(np.rint(mixed * (PEAK_STEPS / np.abs(mixed).max())), np.int16)


def without_offset(shapes: Samples, envelopes: Samples) -> Samples:
    """Return shapes times envelopes [shape, time], each shape shifted so that it sums to zero.

    A microphone hears no constant pressure; pulses that had some would add up to a rumble.
    """
    offset = (shapes * envelopes).sum(axis=-1, keepdims=True)
    offset = offset / envelopes.sum(axis=-1, keepdims=True)
    return np.asarray((shapes - offset) * envelopes)


class _Talk:
    """When one talker says what: curves on a grid of 1 ms [grid], and the syllables' vowels."""

    def __init__(self, rng: np.random.Generator, grid: int) -> None:
        count = 12 * grid // _GRID_HZ  # more than anyone says
        lengths = 0.12 + 0.16 * rng.random(count)
        ends_phrase = rng.random(count) < 0.14
        pauses = ends_phrase * (0.25 + 0.6 * rng.random(count))
        ends = np.cumsum(lengths + pauses)
        said = int(np.searchsorted(ends, grid / _GRID_HZ))
        # Stretched a little, so that whole syllables fill the time.
        stretch = grid / _GRID_HZ / ends[said - 1]
        begins = np.concatenate([[0.0], ends[: said - 1]]) * stretch
        moment = (np.arange(grid) + 0.5) / _GRID_HZ
        self.syllable = np.searchsorted(begins, moment, side="right") - 1
        within = (moment - begins[self.syllable]) / (lengths[:said] * stretch)[self.syllable]
        self.within = np.minimum(within, 1.0)  # 1 in the pause after it
        self.vowels = rng.integers(len(_FORMANTS_HZ), size=said)
        self.stress = rng.random(said)
        phrase = np.concatenate([[0], np.cumsum(ends_phrase[: said - 1])])
        position = np.arange(said) - np.searchsorted(phrase, phrase)
        size = np.bincount(phrase)[phrase]
        self.declination = 1.12 - 0.24 * position / size
        self.loudness = np.sin(np.pi * np.clip((self.within - 0.15) / 0.85, 0, 1)) ** 1.5
        self.loudness *= (0.4 + 0.6 * self.stress)[self.syllable]
        begins_with_hiss = (rng.random(said) < 0.5)[self.syllable]
        self.hiss = begins_with_hiss * np.sin(np.pi * np.clip(self.within / 0.3, 0, 1)) ** 2

    def voice(
        self, pitch_hz: float, tract: float, samples: int, rng: np.random.Generator
    ) -> Samples:
        """Return the voiced sound [samples]."""
        bend = 1 + 0.15 * self.stress[self.syllable] * np.sin(np.pi * self.within)
        pitch = pitch_hz * self.declination[self.syllable] * bend
        cycles = np.cumsum(pitch) / _GRID_HZ
        pulses_s = np.interp(np.arange(1, int(cycles[-1])), cycles, np.arange(pitch.size))
        moments = pulses_s.astype(np.int64)
        strength = self.loudness[moments] * (1 + 0.1 * rng.standard_normal(moments.size))
        heard = strength > 1e-3
        moments, strength = moments[heard], strength[heard]
        begins = np.rint(pulses_s[heard] * SAMPLE_RATE / _GRID_HZ).astype(np.int64)
        syllable = self.syllable[moments]
        # Towards its end a vowel becomes the next one.
        becoming = np.clip((self.within[moments] - 0.6) / 0.8, 0, 1)
        responses = _vowel_responses(tract)
        rings = responses[self.vowels[syllable]] * (strength * (1 - becoming))[:, np.newaxis]
        after = self.vowels[(syllable + 1) % self.vowels.size]
        rings += responses[after] * (strength * becoming)[:, np.newaxis]
        places = begins[:, np.newaxis] + np.arange(_RESPONSE_SAMPLES)
        sound = np.bincount(places.ravel() % samples, rings.ravel(), samples)
        return sound.astype(np.float64)


def _vowel_responses(tract: float) -> Samples:
    """Return what a glottal pulse sounds like in each vowel [vowel, time]."""
    time_s = np.arange(_RESPONSE_SAMPLES) / SAMPLE_RATE
    highest = np.full((len(_FORMANTS_HZ), 1), _FOURTH_HZ)
    formants_hz = tract * np.concatenate([_FORMANTS_HZ, highest], axis=1)[..., np.newaxis]
    decays = _AMPLITUDES[:, np.newaxis] * np.exp(-np.pi * _BANDWIDTHS_HZ[:, np.newaxis] * time_s)
    fade = 0.5 + 0.5 * np.cos(np.pi * np.arange(_RESPONSE_SAMPLES) / _RESPONSE_SAMPLES)
    rings = without_offset((decays * np.sin(2 * np.pi * formants_hz * time_s)).sum(axis=1), fade)
    return np.asarray(rings / np.sqrt(np.square(rings).sum(axis=1, keepdims=True)))


def _noise_band(rng: np.random.Generator, samples: int) -> Samples:
    """Return noise around 3.5 kHz, RMS about 1/3: the sound of s, sh and f together."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    octaves = np.log2(np.maximum(np.fft.rfftfreq(samples, 1 / SAMPLE_RATE), 1.0) / 3500)
    return np.asarray(np.fft.irfft(spectrum * np.exp(-((octaves / 0.5) ** 2)), samples))


def _at_sample_rate(curve: Samples, samples: int) -> Samples:
    moments = np.arange(samples) * (_GRID_HZ / SAMPLE_RATE)
    return np.asarray(np.interp(moments, np.arange(curve.size), curve))
