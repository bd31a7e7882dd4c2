"""Built-in noises: each must be, by numbers, what its name says."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import welch

from megaasr.errors import UsageError
from megaasr.simulate.babble import babble_from
from megaasr.simulate.noise_generators import NAMES, builtin_noise
from megaasr.simulate.streams import stream, stream_key

RATE = 16_000
# SHA-256 of the bytes. Draws name these noises, so a change here changes what old draws give.
DIGESTS = {
    "white": "67906cc52c6fd6e9c3f9b02f7af0706272db453daa8468015c2cb6620c3447a0",
    "pink": "d6c62e3757490563b5d732a55318f6ec2d0ae37d01587e702e194fd493d30a04",
    "brown": "ff621fee2023f1f708e84daeef8206f91952975423fbf70ca92f218043d4f7ce",
    "hum": "d107736de6ae2c5be6c22e79334e9e8e977c1ab77c73c73a1c4c10cb04bf984a",
    "engine": "de7b2cbb6dafdfbdaba1a913ec42d0779198fcc3247bcc6e35ebf4a31fe9947d",
    "rain": "78ac212c2f17c70d537ae5d76d663bdbf47fb4e6758c8749d38bda7ab6ec549d",
    "crackle": "4013675a38ebd75c92b53cecfdd8a50f72751ed466e6f01b0878b3605ac46b31",
    "babble": "70c44392c55d465994dbb90d2659305f15cf6fa3c472e85b9dbd25821e80ad0a",
}


def sound(name: str) -> NDArray[np.float64]:
    return builtin_noise(name) / 2.0**15


def octave_levels_db(samples: Any, lowest_hz: float = 62.5) -> Any:
    """Power density per octave band from `lowest_hz` up to 8 kHz."""
    hertz, power = welch(samples, RATE, nperseg=8192)
    lows = lowest_hz * 2.0 ** np.arange(int(np.log2(8000 / lowest_hz)))
    bands = [power[(hertz >= low) & (hertz < 2 * low)].mean() for low in lows]
    return 10 * np.log10(bands)


def kurtosis(samples: Any) -> float:
    return float(np.mean(samples**4) / np.mean(samples**2) ** 2)


def modulation(samples: Any, low_hz: float, high_hz: float) -> float:
    """Depth of the envelope's swings in a band of modulation frequencies; 1 is complete."""
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    envelope = np.sqrt(np.square(frames).mean(axis=1))
    swings = 2 * np.abs(np.fft.rfft(envelope - envelope.mean())) ** 2 / envelope.size**2
    hertz = np.fft.rfftfreq(envelope.size, 0.01)
    band = (hertz >= low_hz) & (hertz < high_hz)
    return float(np.sqrt(swings[band].sum()) / envelope.mean())


def share_below(samples: Any, limit_hz: float) -> float:
    hertz, power = welch(samples, RATE, nperseg=4096)
    return float(power[hertz < limit_hz].sum() / power.sum())


def voice(seed: int) -> NDArray[np.float32]:
    """Bursts of noise at the rate of syllables."""
    rng = stream(stream_key(seed, "voice", 0, "test"))
    swing = np.clip(np.sin(2 * np.pi * (3 + seed / 2) * np.arange(5 * RATE) / RATE), 0, 1)
    return (0.1 * (1 + seed) * swing * rng.standard_normal(5 * RATE)).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_every_noise_is_a_full_table_that_never_clips(name: str) -> None:
    samples = builtin_noise(name)
    assert samples.dtype == np.int16
    assert len(samples) == (2**20 if name == "white" else 30 * RATE)
    assert np.abs(samples.astype(int)).max() == round(0.9 * 2**15)
    assert abs(samples.mean()) < 0.01 * samples.std()
    assert builtin_noise(name) is samples
    with pytest.raises(ValueError, match="read-only"):
        samples[0] = 0


@pytest.mark.parametrize("name", NAMES)
def test_every_noise_goes_on_without_pause_or_seam(name: str) -> None:
    samples = sound(name)
    frames = samples[: len(samples) // 1600 * 1600].reshape(-1, 1600)  # 0.1 s
    assert np.square(frames).mean(axis=1).min() > 1e-4 * np.square(samples).mean()
    # At its end it repeats; a seam would be a jump unlike those within.
    seam = np.abs(np.diff(np.concatenate([samples[-3:], samples[:3]]))).max()
    assert seam <= np.abs(np.diff(samples)).max()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_stands_for_the_same_bytes_everywhere(name: str) -> None:
    assert hashlib.sha256(builtin_noise(name).astype("<i2").tobytes()).hexdigest() == DIGESTS[name]


def test_another_process_makes_the_same_noises() -> None:
    code = (
        "import hashlib\n"
        "from megaasr.simulate.noise_generators import builtin_noise\n"
        "noises = [builtin_noise(name) for name in ('babble', 'rain')]\n"
        "print([hashlib.sha256(one.astype('<i2').tobytes()).hexdigest() for one in noises])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([DIGESTS["babble"], DIGESTS["rain"]])


@pytest.mark.parametrize(("name", "slope_db"), [("white", 0.0), ("pink", -3.01), ("brown", -6.02)])
def test_coloured_noise_falls_by_its_slope(name: str, slope_db: float) -> None:
    samples = sound(name)
    steps = np.diff(octave_levels_db(samples))
    assert steps == pytest.approx(np.full(6, slope_db), abs=0.4)
    assert kurtosis(samples) == pytest.approx(3.0, abs=0.3)  # normal
    assert modulation(samples, 2, 8) < 0.2


def test_hum_is_multiples_of_50_hz() -> None:
    samples = sound("hum")
    power = np.abs(np.fft.rfft(samples * np.hanning(samples.size))) ** 2
    hertz = np.fft.rfftfreq(samples.size, 1 / RATE)
    off = np.abs(hertz - 50 * np.rint(hertz / 50))
    assert power[off < 1].sum() > 0.9999 * power.sum()
    lines = np.array([power[np.abs(hertz - 50 * k) < 1].sum() for k in range(1, 60)])
    assert int(np.argmax(lines)) == 0
    assert (lines[:10] > 1e-4 * lines[0]).all()  # within 40 dB
    assert lines[1::2][6:].sum() > 10 * lines[::2][6:].sum()  # the rectifier's buzz: 100 Hz


def test_an_engine_fires_some_60_times_a_second_and_rumbles() -> None:
    samples = sound("engine")
    hertz, power = welch(samples, RATE, nperseg=16_384)
    strongest = hertz[np.argmax(power)]
    assert 55 < strongest < 65
    assert share_below(samples, 1000) > 0.9
    # Its multiples stand out from the road noise between them.
    for harmonic in (2, 3, 4):
        line = power[np.abs(hertz - 60 * harmonic) < 8].max()
        between = power[np.abs(hertz - 60 * (harmonic + 0.5)) < 8].min()
        assert line > 10 * between
    # The speed wanders, so that it is no pure tone: half of the power needs more than one bin.
    line = np.sort(power[np.abs(hertz - 60) < 8])[::-1]
    assert line[0] < 0.5 * line.sum()


def test_rain_is_drops_on_a_rush() -> None:
    samples = sound("rain")
    assert 10 < kurtosis(samples) < 100  # 3 for noise
    levels = octave_levels_db(samples)
    assert np.ptp(levels) < 12  # broad
    assert int(np.argmax(levels)) in {4, 5}  # 1 to 4 kHz
    assert modulation(samples, 2, 8) < 0.25  # steady rain


def test_crackle_is_rare_short_bursts() -> None:
    samples = sound("crackle")
    assert kurtosis(samples) > 50
    loud = np.abs(samples) > 4 * samples.std()
    assert np.mean(loud) < 0.02
    assert np.ptp(octave_levels_db(samples)) < 10  # clicks are broad
    # Bursts a second: moments that are loud after 5 ms that were not.
    begins = loud & ~np.concatenate([[False], np.convolve(loud, np.ones(80))[: loud.size - 1] > 0])
    assert 5 < begins.sum() / 30 < 40


def test_babble_swings_like_speech_and_lies_where_speech_lies() -> None:
    samples = sound("babble")
    assert share_below(samples, 4000) > 0.9
    assert share_below(samples, 100) < 0.05
    speech_like = modulation(samples, 2, 8)
    assert speech_like > 0.25
    assert speech_like > 1.5 * modulation(samples, 8, 32)
    # Noise of the same spectrum has no such swings.
    rng = stream(stream_key(1, "phases", 0, "test"))
    spectrum = np.abs(np.fft.rfft(samples)) * np.exp(2j * np.pi * rng.random(samples.size // 2 + 1))
    steady = np.fft.irfft(spectrum, samples.size)
    assert speech_like > 3 * modulation(steady, 2, 8)
    # Voiced: many talkers' periods, 4 to 13 ms, show in the autocorrelation of short stretches.
    frames = samples.reshape(-1, 800)
    likeness = []
    for frame in frames[:300]:
        full = np.correlate(frame, frame, "full")[frame.size - 1 :]
        likeness.append(full[64:208].max() / full[0])
    assert np.median(likeness) > 0.35


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(UsageError, match="unknown built-in noise fog; choose one of white, pink"):
        builtin_noise("fog")


def test_babble_from_speech_has_all_voices_at_like_levels() -> None:
    voices = [voice(seed) for seed in range(4)]
    babble = babble_from(voices, stream(stream_key(1, "b", 0, "test")), 8 * RATE)
    assert (babble.dtype, babble.shape) == (np.int16, (8 * RATE,))
    assert np.abs(babble.astype(int)).max() == round(0.9 * 2**15)
    levels = []
    for speech in voices:
        # Where the voice lies in the babble shows in the circular correlation; how much of it
        # there is, too, since the voices do not resemble one another.
        correlation = np.fft.irfft(
            np.fft.rfft(babble[: speech.size] / 2.0**15) * np.conj(np.fft.rfft(speech)), speech.size
        )
        delay = int(np.argmax(np.abs(correlation)))
        assert correlation[delay] > 10 * np.std(correlation)
        levels.append(
            20 * np.log10(correlation[delay] / np.sqrt(np.sum(speech.astype(float) ** 2)))
        )
    assert np.ptp(levels) < 6.5  # give or take 3 dB each, whatever their own level (12 dB apart)


def test_babble_from_speech_is_a_function_of_its_stream() -> None:
    voices = [voice(seed) for seed in range(3)]
    babbles = [
        babble_from(voices, stream(stream_key(1, key, 0, "test")), 3 * RATE)
        for key in ("a", "a", "b")
    ]
    assert np.array_equal(babbles[0], babbles[1])
    assert not np.array_equal(babbles[0], babbles[2])
    assert babble_from(voices, stream(stream_key(1, "a", 0, "test")), 1).shape == (1,)


def test_babble_needs_voices() -> None:
    rng = stream(stream_key(1, "c", 0, "test"))
    with pytest.raises(UsageError, match="one person"):
        babble_from([], rng, RATE)
    with pytest.raises(UsageError, match="voice 1 of the babble is silent"):
        babble_from([voice(1), np.zeros(RATE, np.float32)], rng, RATE)
