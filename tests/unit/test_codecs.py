"""Codecs: G.711 exactly by the standard, ffmpeg's codecs in time with the clip."""

from __future__ import annotations

import shutil
import stat
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from megaasr.audio.files import read, resample
from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.errors import CodecError, UsageError
from megaasr.simulate import codecs, g711
from megaasr.simulate.codec_ladder import CODECS, LADDER, choose_codec, find_codec
from megaasr.simulate.codecs import available_codecs, encode_and_decode
from megaasr.simulate.noise_pool import NoisePool
from megaasr.simulate.primitives import Resources, SpeechCodec
from megaasr.simulate.streams import stream, stream_key

CLIPS = Path(codecs.__file__).parents[1] / "cli" / "demo_clips"
ALL_CODES = np.arange(256, dtype=np.uint8)
ALL_PCM = np.arange(-(2**15), 2**15).astype(np.int16)
# Upper ends of the 8 segments in the units of G.711's tables 2a and 1a.
MU_ENDS = [31, 95, 223, 479, 991, 2015, 4063, 8159]
A_ENDS = [32, 64, 128, 256, 512, 1024, 2048, 4096]


@pytest.fixture(scope="module")
def speech() -> Samples:
    """22 s of clean speech by several voices at 16 kHz."""
    return np.concatenate([read(path).samples for path in sorted(CLIPS.glob("*-clean.flac"))])


@pytest.mark.parametrize("law", ["mu", "a"])
def test_g711_keeps_its_own_levels_and_chooses_the_interval_of_a_sample(law: g711.Law) -> None:
    levels = g711.decode(ALL_CODES, law)
    assert len(np.unique(levels)) == (255 if law == "mu" else 256)  # mu-law has two zeros
    again = g711.encode(levels, law)
    zero = levels == 0
    np.testing.assert_array_equal(again[~zero], ALL_CODES[~zero])
    decoded = g711.decode(g711.encode(ALL_PCM, law), law).astype(int)
    assert (np.diff(decoded) >= 0).all()
    # Never further away than half an interval, 1/32 of the magnitude with the offset of the law.
    magnitude = np.abs(ALL_PCM.astype(int))
    error = np.abs(decoded - ALL_PCM.astype(int))
    limit = (magnitude + (132 if law == "mu" else 256)) / 32 + 4
    largest = 8159 * 4 if law == "mu" else 2**15
    assert (error <= limit)[magnitude <= largest].all()


def test_g711_has_the_segments_of_the_standard() -> None:
    mu = np.unique(np.abs(g711.decode(ALL_CODES, "mu").astype(int))) // 4
    a = np.unique(np.abs(g711.decode(ALL_CODES, "a").astype(int))) // 8
    assert mu[:4].tolist() == [0, 2, 4, 6]
    assert a[:4].tolist() == [1, 3, 5, 7]
    assert (mu[-1], a[-1]) == (8031, 4032)
    for number, (mu_end, a_end) in enumerate(zip(MU_ENDS, A_ENDS, strict=True)):
        # The last level of a segment lies half an interval below its end.
        assert mu[16 * number + 15] == mu_end - 2**number
        assert a[16 * number + 15] == a_end - max(1, 2 ** (number - 1))


def test_g711_codes_as_they_are_transmitted() -> None:
    pcm = np.array([0, -1, 32767, -32768], np.int16)
    assert g711.encode(pcm, "mu").tolist() == [0xFF, 0x7F, 0x80, 0x00]
    assert g711.encode(pcm, "a").tolist() == [0xD5, 0x55, 0xAA, 0x2A]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg as an independent decoder")
@pytest.mark.parametrize(("law", "format_"), [("mu", "mulaw"), ("a", "alaw")])
def test_g711_decodes_like_ffmpeg(law: g711.Law, format_: str) -> None:
    command = ["ffmpeg", "-v", "error", "-f", format_, "-ar", "8000", "-i", "pipe:0"]
    decoded = subprocess.run(
        [*command, "-f", "s16le", "pipe:1"],
        input=ALL_CODES.tobytes(),
        capture_output=True,
        check=True,
    ).stdout
    np.testing.assert_array_equal(np.frombuffer(decoded, "<i2"), g711.decode(ALL_CODES, law))


@pytest.mark.parametrize("name", CODECS)
def test_every_codec_keeps_length_and_times_and_gives_the_same_again(
    name: str, speech: Samples
) -> None:
    if name not in available_codecs():
        pytest.skip(f"this machine has no encoder for {name}")
    codec = find_codec(name)
    decoded = encode_and_decode(codec, speech)
    assert decoded.shape == speech.shape
    assert decoded.dtype == np.float32
    assert np.isfinite(decoded).all()
    band = speech
    if codec.sample_rate == 8000:
        band = resample(resample(speech, SAMPLE_RATE, 8000), 8000, SAMPLE_RATE)[: speech.size]
    assert abs(lag_ms(band, decoded)) <= 2.0
    assert not np.array_equal(decoded, speech)
    assert encode_and_decode(codec, speech).tobytes() == decoded.tobytes()


@pytest.mark.parametrize("name", ["g711-mu-law", "g711-a-law", "gsm-fr", "g726-32", "opus-16"])
def test_a_click_stays_where_it_is(name: str) -> None:
    if name not in available_codecs():
        pytest.skip(f"this machine has no encoder for {name}")
    x = np.zeros(16_000, np.float32)
    x[8000:8004] = 0.8
    decoded = encode_and_decode(find_codec(name), x)
    assert abs(int(np.abs(decoded).argmax()) - 8001) <= 16  # 1 ms


def test_g711_has_the_signal_to_noise_ratio_of_the_standard() -> None:
    tone = (0.3 * np.sin(2 * np.pi * 1020 / SAMPLE_RATE * np.arange(32_000))).astype(np.float32)
    for name in ("g711-mu-law", "g711-a-law"):
        noise = (encode_and_decode(find_codec(name), tone) - tone)[2000:-2000]
        ratio_db = 10 * np.log10(np.square(tone[2000:-2000]).mean() / np.square(noise).mean())
        assert 36 < ratio_db < 40  # G.711 at -10 dBm0: 37 to 38 dB


def test_short_clips_have_a_result() -> None:
    for name in available_codecs():
        for samples in (1, 700):
            assert encode_and_decode(find_codec(name), np.full(samples, 0.1, "f4")).size == samples


def test_the_ladder_names_every_codec_once() -> None:
    names = [name for rung in LADDER for name in rung]
    assert sorted(names) == sorted(CODECS)


def test_a_draw_does_not_depend_on_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def draws() -> list[str]:
        keys = (stream_key(1, f"u{number}", 0, "step 0") for number in range(50))
        return [choose_codec(number % 8, stream(key)) for number, key in enumerate(keys)]

    before = draws()
    monkeypatch.setenv("PATH", "")
    assert draws() == before
    assert len(set(before)) > 10
    assert available_codecs() == ("g711-mu-law", "g711-a-law")


def test_an_explicit_choice_restricts_the_draw() -> None:
    rng = stream(stream_key(1, "u", 0, "step 0"))
    allowed = ("gsm-fr", "codec2-1300")
    assert {choose_codec(rung, rng, allowed) for rung in range(5)} == {"gsm-fr"}
    assert {choose_codec(rung, rng, allowed) for rung in range(5, 8)} == {"codec2-1300"}
    with pytest.raises(UsageError, match="no codec is called gsm; there are"):
        choose_codec(0, rng, ("gsm",))
    with pytest.raises(UsageError, match="no codec is allowed"):
        choose_codec(0, rng, ())


def test_a_missing_program_or_encoder_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clip = np.full(1600, 0.1, np.float32)
    step = SpeechCodec(condition="codec", codec="gsm-fr")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CodecError, match="needs the program ffmpeg"):
        step.apply(clip, Resources(NoisePool()))
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho ' A....D pcm_mulaw  PCM mu-law'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(CodecError, match="has no encoder libgsm; install"):
        step.apply(clip, Resources(NoisePool()))
    with pytest.raises(UsageError, match="no codec is called nothing"):
        SpeechCodec(condition="codec", codec="nothing").apply(clip, Resources(NoisePool()))


def lag_ms(x: Samples, y: Samples) -> float:
    """Return the time by which y follows x: where the band levels of both agree best."""
    levels = [band_levels(samples) for samples in (x, y)]
    frames = levels[0].shape[1]
    lags = range(-80, 81)
    agreement = []
    for lag in lags:
        first = levels[0][:, max(0, -lag) : frames - max(0, lag)]
        second = levels[1][:, max(0, lag) : frames - max(0, -lag)]
        pairs = zip(first, second, strict=True)
        agreement.append(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]))
    return 0.5 * lags[int(np.argmax(agreement))]


def band_levels(samples: Samples) -> NDArray[np.float64]:
    """Return the levels of seven bands up to 3.4 kHz every 0.5 ms."""
    starts = np.arange(0, samples.size - 160, 8)
    power = np.square(
        np.abs(np.fft.rfft(samples[starts[:, None] + np.arange(160)] * np.hanning(160)))
    )
    edges = (2, 4, 6, 9, 13, 18, 24, 34)
    return np.log([power[:, a:b].sum(axis=1) + 1e-5 for a, b in pairwise(edges)])
