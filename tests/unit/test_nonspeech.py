"""Sounds without speech: what is promised of every kind, and the physics of each."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from megaasr.synthesize.nonspeech import KINDS, draw_nonspeech

RATE = 16_000
Sound = NDArray[np.float64]


def make(kind: str, seed: int, seconds: float = 4.0) -> Sound:
    return KINDS[kind](np.random.default_rng(seed), round(seconds * RATE))


def spectrum(sound: Sound) -> tuple[Sound, Sound]:
    """Frequencies and amplitudes; a sine of amplitude a on a bin has a there."""
    return np.fft.rfftfreq(sound.size, 1 / RATE), 2 * np.abs(np.fft.rfft(sound)) / sound.size


@pytest.mark.parametrize("count", [8_000, 8_001, 20_011, 192_000])
@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_is_finite_audible_and_repeatable(kind: str, count: int) -> None:
    sound = KINDS[kind](np.random.default_rng(5), count)
    assert sound.shape == (count,)
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() > 1e-5
    assert np.array_equal(sound, KINDS[kind](np.random.default_rng(5), count))
    assert not np.array_equal(sound, KINDS[kind](np.random.default_rng(6), count))


def test_drawn_sounds_have_the_promised_form() -> None:
    peaks, lengths = [], []
    for seed in range(250):
        sound = draw_nonspeech(np.random.default_rng(seed), min_s=0.05, max_s=0.5)
        assert sound.dtype == np.float32
        assert np.isfinite(sound).all()
        peaks.append(20 * np.log10(np.abs(sound).max()))
        lengths.append(sound.size / RATE)
    # Uniform in decibels and in the logarithm of the length: every tenth of both ranges is met.
    assert min(peaks) >= -50.01
    assert max(peaks) <= -0.99
    assert min(lengths) >= 0.05
    assert max(lengths) <= 0.5
    assert np.histogram(peaks, bins=10, range=(-50.01, -0.99))[0].min() > 8
    assert np.histogram(np.log(lengths), bins=10, range=np.log((0.05, 0.5)))[0].min() > 8


def test_by_default_a_sound_lasts_half_a_second_to_twelve() -> None:
    lengths = [draw_nonspeech(np.random.default_rng(seed)).size / RATE for seed in range(20)]
    assert 0.5 <= min(lengths) < 1.5
    assert 6.0 < max(lengths) <= 12.0


def test_drawing_depends_on_the_generator_only() -> None:
    first, same = (draw_nonspeech(np.random.default_rng(3), min_s=1, max_s=2) for _ in range(2))
    assert np.array_equal(first, same)
    assert RATE <= first.size <= 2 * RATE


def test_noise_falls_by_0_to_6_decibels_per_octave() -> None:
    slopes = []
    for seed in range(150):
        noise = make("noise", seed)
        assert np.abs(noise).max() == pytest.approx(1.0)
        frequencies, amplitudes = spectrum(noise)
        octaves = np.log2(np.clip(frequencies, 1, None) / 62.5)
        levels = [
            10 * np.log10(np.mean(amplitudes[(octaves >= k) & (octaves < k + 1)] ** 2))
            for k in range(7)
        ]
        slopes.append(float(np.polyfit(range(7), levels, 1)[0]))
    assert -6.3 < min(slopes) < -5.5
    assert -0.5 < max(slopes) < 0.3
    assert np.mean(slopes) == pytest.approx(-3.0, abs=0.5)


def test_silence_is_noise_80_decibels_down() -> None:
    assert np.abs(make("silence", 1)).max() == pytest.approx(1e-4)
    assert np.array_equal(make("silence", 1), 1e-4 * make("noise", 1))


def test_hum_is_mains_frequency_with_falling_harmonics() -> None:
    bases, counts = set(), set()
    for seed in range(40):
        frequencies, amplitudes = spectrum(make("hum", seed))
        strongest = frequencies[np.argmax(amplitudes)]
        assert strongest in (50.0, 60.0)
        lines = np.flatnonzero(amplitudes > 1e-6)
        # Nothing but whole multiples of the mains, the k-th at 1/k of the first.
        numbers = frequencies[lines] / strongest
        assert numbers.tolist() == list(range(1, len(lines) + 1))
        np.testing.assert_allclose(amplitudes[lines], 1 / numbers, rtol=1e-6)
        bases.add(strongest)
        counts.add(len(lines))
    assert bases == {50.0, 60.0}
    assert (min(counts), max(counts)) == (2, 10)


def runs(on: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[start, end) of every stretch that is on."""
    return np.flatnonzero(np.diff(np.concatenate([[0], on.astype(int), [0]]))).reshape(-1, 2)


def test_tones_are_one_frequency_switched_on_and_off() -> None:
    for seed in range(20):
        sound = make("tones", seed, seconds=8.0)
        frequencies, amplitudes = spectrum(sound)
        strongest = frequencies[np.argmax(amplitudes)]
        assert 200 <= strongest <= 3_000
        near = np.abs(frequencies - strongest) < 50
        assert np.sum(amplitudes[near] ** 2) > 0.95 * np.sum(amplitudes**2)
        assert np.abs(sound).max() == pytest.approx(1.0, abs=0.05)
        # A sine has no two zeros in a row, so two zeros are a pause.
        beeps = runs((sound != 0) | (np.roll(sound, -1) != 0))
        assert beeps[0, 0] == 0
        assert 0.2 <= np.sum(beeps[:, 1] - beeps[:, 0]) / sound.size <= 1.0
        if len(beeps) > 1:
            periods = np.diff(beeps[:, 0])
            assert np.ptp(periods) <= 3
            assert 0.2 * RATE - 3 <= periods[0] <= 2.0 * RATE + 3
            assert np.ptp((beeps[:, 1] - beeps[:, 0])[:-1]) <= 3


def test_music_is_made_of_tempered_notes_and_their_harmonics() -> None:
    notes = 220 * 2 ** (np.arange(25) / 12)
    partials = np.concatenate([harmonic * notes for harmonic in range(1, 5)])
    for seed in range(6):
        sound = make("music", seed)
        frequencies, amplitudes = spectrum(sound * np.hanning(sound.size))
        power = amplitudes**2 / np.sum(amplitudes**2)
        off = np.abs(frequencies[:, None] / partials - 1).min(axis=1)
        # A third of the bins lies so close to a partial, but nearly all of the power.
        assert power[off < 0.01].sum() > 0.9
        assert off[np.argmax(power)] < 0.003
        assert power[frequencies < 200].sum() < 0.02
        assert power[frequencies > 3_600].sum() < 0.001


def test_music_decays_between_beats() -> None:
    # Power of frames of 20 ms: it rises in jumps (a beat) and falls slowly.
    for seed in range(6):
        sound = make("music", seed, seconds=6.0)
        levels = np.log((sound.reshape(-1, 320) ** 2).mean(axis=1) + 1e-12)
        steps = np.diff(levels)
        assert steps.max() > 2 * -np.percentile(steps, 5)


def test_an_engine_swings_1_to_30_times_a_second() -> None:
    swings = []
    for seed in range(12):
        sound = make("engine", seed, seconds=20.0)
        # The difference whitens the noise, so that its own envelope is flat.
        envelope = (np.diff(sound, append=0.0) ** 2).reshape(-1, 160).mean(axis=1)
        strength = np.abs(np.fft.rfft(envelope - envelope.mean()))
        frequencies = np.fft.rfftfreq(envelope.size, 0.01)
        strongest = int(np.argmax(strength))
        assert strength[strongest] > 30 * np.median(strength)
        assert 0.95 <= frequencies[strongest] <= 30.05
        swings.append(frequencies[strongest])
    assert max(swings) > 15 > min(swings)
    steady = make("noise", 3, seconds=20.0)
    envelope = (np.diff(steady, append=0.0) ** 2).reshape(-1, 160).mean(axis=1)
    strength = np.abs(np.fft.rfft(envelope - envelope.mean()))
    assert strength.max() < 10 * np.median(strength)


def test_clicks_are_rare_and_short() -> None:
    for seed in range(20):
        sound = make("clicks", seed, seconds=8.0)
        bursts = runs(sound != 0)
        lengths = (bursts[:, 1] - bursts[:, 0]) / RATE
        # 1 to 12 a second, some of them overlapping, each 2 to 30 ms.
        assert 0.5 <= len(bursts) / 8 <= 12.2
        assert 0.001 <= lengths.min() <= 0.03
        assert np.mean(sound != 0) < 0.4
        kurtosis = np.mean(sound**4) / np.mean(sound**2) ** 2
        assert kurtosis > 20  # 3 for noise
