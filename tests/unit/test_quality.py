"""Measures of a recording's quality, on sounds whose quality is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import fftconvolve

from megaasr.audio.quality import (
    advice,
    bandwidth_hz,
    clipped_share,
    measure_quality,
    reverberation_s,
)
from megaasr.errors import UsageError

RATE, FRAME = 16_000, 512
RNG = np.random.default_rng(5)


def bursts(seconds: float = 8.0, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Noise that is on for 1 s and off for 1 s, and where it is on."""
    count = round(seconds * RATE) // FRAME * FRAME
    on = (np.arange(count) // RATE) % 2 == 0
    sound = np.where(on, 0.1 * RNG.standard_normal(count), 0.0)
    sound += noise * RNG.standard_normal(count)
    spoken = on.reshape(-1, FRAME).mean(axis=1) > 0.5
    return sound.astype(np.float32), spoken.astype(np.float32)


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_the_snr_is_the_one_that_was_mixed(snr_db: float) -> None:
    sound, speech = bursts(noise=0.1 * 10 ** (-snr_db / 20))
    quality = measure_quality(sound, speech)
    assert quality.snr_db == pytest.approx(snr_db, abs=1.5)
    assert quality.speech_ratio == pytest.approx(0.5, abs=0.05)


def test_clipping_is_found_and_loudness_is_not_clipping() -> None:
    time_s = np.arange(RATE) / RATE
    sine = np.sin(2 * np.pi * 200 * time_s).astype(np.float32)
    assert clipped_share(np.clip(2 * sine, -1, 1)) > 0.3
    assert clipped_share(0.4 * np.clip(2 * sine, -1, 1)) > 0.3  # made quieter afterwards
    assert clipped_share((0.99 * RNG.uniform(-1, 1, RATE)).astype(np.float32)) < 1e-3
    assert clipped_share(np.zeros(RATE, np.float32)) == 0.0


def test_the_bandwidth_of_telephone_speech() -> None:
    spectrum = np.fft.rfft(RNG.standard_normal(RATE * 2))
    hertz = np.fft.rfftfreq(RATE * 2, 1 / RATE)
    narrow = np.fft.irfft(np.where(hertz < 3400, spectrum, 0)).astype(np.float32)
    assert bandwidth_hz(narrow) == pytest.approx(3400, abs=120)
    assert bandwidth_hz(RNG.standard_normal(RATE).astype(np.float32)) > 7900


@pytest.mark.parametrize("rt60_s", [0.4, 1.0])
def test_the_reverberation_time_of_a_decay(rt60_s: float) -> None:
    sound, speech = bursts(16.0)
    tail = np.exp(-6.91 * np.arange(round(1.5 * RATE)) / RATE / rt60_s)
    room = tail * RNG.standard_normal(tail.size)
    wet = fftconvolve(sound, room)[: sound.size].astype(np.float32)
    measured = reverberation_s(wet / np.abs(wet).max(), speech > 0.5)
    assert measured is not None
    assert measured == pytest.approx(rt60_s, rel=0.5)


def test_dropouts_in_speech_are_counted_and_pauses_are_not() -> None:
    sound, speech = bursts(noise=0.001)
    assert measure_quality(sound, speech).dropouts_per_min == 0
    broken = sound.copy()
    for start in (3000, 9000, 35_000):
        broken[start : start + 800] = 0.0
    count = measure_quality(broken, speech).dropouts_per_min * broken.size / RATE / 60
    assert count == pytest.approx(3)


def test_advice_names_what_is_wrong_and_only_that() -> None:
    sound, speech = bursts(noise=0.001)
    fine = measure_quality(sound, speech)
    assert advice(fine) == []
    bad = replace(fine, snr_db=3.0, clipped_share=0.01, bandwidth_hz=3400, dropouts_per_min=9)
    assert len(advice(bad)) == 4
    assert "noise" in advice(replace(fine, snr_db=3.0))[0]
    assert "wrong recording" in advice(replace(fine, speech_ratio=0.0))[0]


def test_too_little_audio_is_an_error() -> None:
    with pytest.raises(UsageError, match="too few"):
        measure_quality(np.zeros(100, np.float32), np.zeros(1, np.float32))
