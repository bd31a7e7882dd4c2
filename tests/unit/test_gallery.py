"""Spectrograms show the frequencies and times that are there; the page holds what it promises."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from megaasr.audio.waveform import Waveform
from megaasr.errors import UsageError
from megaasr.report import spectrogram
from megaasr.report.gallery import Gallery
from megaasr.simulate.noise_pool import NoisePool
from megaasr.simulate.scenarios import find_scenario
from megaasr.simulate.simulator import Simulator

RATE = 16_000


def sine(hertz: float, duration_s: float = 1.0, amplitude: float = 1.0) -> Waveform:
    time_s = np.arange(round(duration_s * RATE)) / RATE
    return Waveform((amplitude * np.sin(2 * np.pi * hertz * time_s)).astype(np.float32), RATE)


def decoded(png: bytes) -> NDArray[np.uint8]:
    """Return [height, width] colour numbers; checks every chunk's sum."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    chunks: dict[bytes, bytes] = {}
    position = 8
    while position < len(png):
        length = int.from_bytes(png[position : position + 4])
        kind, content = png[position + 4 : position + 8], png[position + 8 : position + 8 + length]
        assert zlib.crc32(kind + content) == int.from_bytes(
            png[position + 8 + length : position + 12 + length]
        )
        chunks[kind] = content
        position += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour) == (8, 3)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    assert rows.max() < len(chunks[b"PLTE"]) // 3
    return rows[:, 1:]


@pytest.mark.parametrize("hertz", [500.0, 1000.0, 4000.0, 7500.0])
def test_a_tone_is_a_line_at_its_frequency(hertz: float) -> None:
    level = spectrogram.levels_db(sine(hertz))
    assert level.shape[0] == 256
    middle = level[:, level.shape[1] // 2]
    assert (middle.argmax() + 0.5) * 31.25 == pytest.approx(hertz, abs=32)
    assert middle.max() == pytest.approx(-1.0, abs=1.5)  # its two edges are averaged
    assert decoded(spectrogram.picture(sine(hertz)))[255 - middle.argmax(), 100] > 55


def test_sounds_stand_where_they_are_in_time() -> None:
    samples = np.zeros(RATE, np.float32)
    samples[12_000:12_160] = 0.5
    level = spectrogram.levels_db(Waveform(samples, RATE)).max(axis=0)
    sounding = np.flatnonzero(level > -60) / level.size
    assert sounding.min() == pytest.approx(0.75 - 0.016, abs=0.005)
    assert sounding.max() == pytest.approx(0.76 + 0.016, abs=0.005)


def test_louder_is_lighter_and_the_scale_is_the_same_for_all() -> None:
    quiet, loud = (decoded(spectrogram.picture(sine(1000, amplitude=a))) for a in (0.001, 0.01))
    assert int(loud.max()) - int(quiet.max()) == pytest.approx(20 / 90 * 63, abs=1)
    bar = decoded(spectrogram.colour_bar())
    assert (np.diff(bar[0].astype(int)) == 1).all()


@pytest.mark.parametrize("length", [1, 63, 64, 511, 5000])
def test_any_length_and_silence_can_be_drawn(length: int) -> None:
    shown = decoded(spectrogram.picture(Waveform(np.zeros(length, np.float32), RATE)))
    assert shown.shape == (256, min(400, max(1, length // 64)))
    assert not shown.any()


def test_another_rate_is_refused() -> None:
    with pytest.raises(UsageError, match="16000 Hz, got 8000"):
        spectrogram.picture(Waveform(np.zeros(10, np.float32), 8000))


@pytest.fixture
def small(speechlike: NDArray[np.float32]) -> Gallery:
    return Gallery(
        Waveform(speechlike[:16_000], RATE),
        "a.wav",
        Simulator(NoisePool()),
        [find_scenario("echo"), find_scenario("dropout")],
        (0.2, 0.8),
    )


def test_a_row_for_each_scenario_and_a_cell_for_each_severity(small: Gallery) -> None:
    page = small.page()
    assert re.findall(r"<h2 id=\"(.*?)\"", page) == ["clean", "echo", "dropout"]
    assert re.findall(r"<h3>(.*?)</h3>", page) == ["clean", *["severity 0.2", "severity 0.8"] * 2]
    assert page.count('src="data:audio/flac;base64,') == 5
    assert page.count("<audio ") == page.count("<audio controls") == 5
    assert set(re.findall(r'href="#(.*?)"', page)) == set(re.findall(r'<h2 id="(.*?)"', page))


def test_the_same_gallery_is_the_same_page_and_the_seed_matters(small: Gallery) -> None:
    assert small.page() == small.page()
    other = replace(small, seed=1).page()
    assert other.replace("seed 1.", "seed 0.") != small.page()


def test_a_silent_clip_shorter_than_a_loudness_block_has_a_page() -> None:
    silent = Waveform(np.zeros(100, np.float32), RATE)
    page = Gallery(silent, "s.wav", Simulator(NoisePool()), [find_scenario("noise")]).page()
    assert "none to be measured" in page
    assert "skipped: silence" in page
    assert not re.search(r"\b(nan|inf)\b", re.sub('"data:.*?"', "", page), re.IGNORECASE)


def test_an_impossible_severity_is_refused(small: Gallery) -> None:
    with pytest.raises(UsageError, match=r"severity 1\.5"):
        replace(small, severities=(1.5,)).page()
