"""Laws that decoding, resampling and writing keep for every input."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from megaasr.audio import (
    Waveform,
    active_speech_level_dbfs,
    blocks,
    from_array,
    peak,
    read,
    resample,
    rms_dbfs,
    write,
)
from megaasr.audio.ogg import find_links
from megaasr.errors import AudioError

quick = settings(max_examples=40, deadline=None)
rates = st.sampled_from((4_000, 8_000, 11_025, 12_345, 16_000, 44_100, 48_000, 192_000))
int16_samples = hnp.arrays(np.int16, st.integers(1, 3_000))
levels = hnp.arrays(
    np.float32, st.integers(1, 2_000), elements=st.floats(-1, 1, width=32, allow_subnormal=False)
)


@pytest.fixture(scope="module", autouse=True)
def no_ffmpeg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep thousands of examples from starting a program each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path_factory.mktemp("empty-path")))
        yield


def encode(data: NDArray[np.int16], rate: int, file_format: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, data, rate, format=file_format)
    return buffer.getvalue()


@quick
@given(int16_samples, st.sampled_from(("wav", "flac")))
def test_integers_survive_write_and_read(
    tmp_path_factory: pytest.TempPathFactory, samples: NDArray[np.int16], suffix: str
) -> None:
    path: Path = tmp_path_factory.getbasetemp() / f"round-trip.{suffix}"
    write(path, from_array(samples, 16_000))
    assert np.array_equal(read(path).samples * 32768, samples)
    assert np.array_equal(soundfile.read(path, dtype="int16")[0], samples)


@quick
@given(int16_samples, rates, st.integers(1, 4_000))
def test_blocks_joined_are_read(samples: NDArray[np.int16], rate: int, size: int) -> None:
    source = encode(samples, rate, "WAV")
    parts = list(blocks(source, block_s=size / 16_000))
    assert all(part.size == size for part in parts[:-1])
    assert np.array_equal(np.concatenate(parts), read(source).samples)


@quick
@given(levels, rates, rates)
def test_resampling_keeps_the_length_in_seconds(
    samples: NDArray[np.float32], from_rate: int, to_rate: int
) -> None:
    out = resample(samples, from_rate, to_rate)
    assert out.dtype == np.float32
    assert out.size >= 1
    assert abs(out.size - samples.size * to_rate / from_rate) <= 1
    assert np.isfinite(out).all()


@quick
@given(levels, rates, st.integers(-20, 20))
def test_resampling_is_linear(samples: NDArray[np.float32], rate: int, exponent: int) -> None:
    gain = np.float32(2.0**exponent)
    resampled = resample(samples, rate, 16_000)
    assert np.allclose(resample(samples * gain, rate, 16_000), resampled * gain, atol=1e-5 * gain)


@quick
@given(int16_samples, st.sampled_from((1, 2, 3, 4, 5, 7)))  # six and eight are surround sound
def test_equal_channels_mix_to_one_of_them(samples: NDArray[np.int16], channels: int) -> None:
    many = np.repeat(samples[:, np.newaxis], channels, axis=1)
    expected = from_array(samples, 16_000).samples
    assert np.array_equal(from_array(many, 16_000).samples, expected)
    assert np.array_equal(read(encode(many, 16_000, "WAV")).samples, expected)


HEADS: tuple[bytes, ...] = (
    b"",
    b"RIFF\0\0\0\0WAVE",
    b"RIFF\0\0\0\0WAVEdata",
    b"OggS\0\2",
    b"ID3\4\0\0",
    b"fLaC\0",
)
HEADS += (b"\xff\xfb\x90\x44", b"FORM\0\0\0\0AIFF", b".snd", b"caff\0\1\0\0", b"\0\0\0\x20ftyp")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(HEADS), st.binary(max_size=600))
def test_random_bytes_give_sound_or_a_typed_error(head: bytes, body: bytes) -> None:
    read_or_refuse(head + body)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(("WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF")),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    st.floats(0.01, 1),
)
def test_damaged_files_give_sound_or_a_typed_error(
    file_format: str, changes: list[tuple[float, int]], kept: float
) -> None:
    damaged = bytearray(SAMPLES[file_format])
    for where, value in changes:
        # Half of the changes fall into the first bytes, where the headers are.
        length = 100 if value % 2 else len(damaged)
        damaged[int(where * length)] = value
    read_or_refuse(bytes(damaged[: math.ceil(kept * len(damaged))]))


SAMPLES = {
    name: encode((9_000 * np.sin(np.arange(8_000) / 9)).astype(np.int16), 16_000, name)
    for name in ("WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF")
}


def test_the_undamaged_samples_are_read() -> None:
    for data in SAMPLES.values():
        assert read(data).duration_s == pytest.approx(0.5, abs=0.01)


def read_or_refuse(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            wave = read(data)
        except AudioError as error:
            refused = error
        else:
            assert wave.samples.size >= 1
            assert np.isfinite(wave.samples).all()
            return
    assert str(refused).startswith("<bytes>: ")


@quick
@given(st.floats(0.01, 1))
def test_cut_ogg_is_noticed_unless_cut_between_pages(kept: float) -> None:
    data = SAMPLES["OGG"][: math.ceil(kept * len(SAMPLES["OGG"]))]
    links = find_links(io.BytesIO(data), len(data))
    ends_of_pages = [len(SAMPLES["OGG"])]
    page = SAMPLES["OGG"].find(b"OggS", 1)
    while page > 0:
        ends_of_pages.append(page)
        page = SAMPLES["OGG"].find(b"OggS", page + 1)
    if links:
        assert len(links) == 1
        assert links[0].cut == (len(data) not in ends_of_pages)


@quick
@given(levels, st.integers(-10, 10))
def test_levels_follow_the_gain(samples: NDArray[np.float32], exponent: int) -> None:
    gain = np.float32(2.0**exponent)
    louder = samples * gain
    assert peak(louder) == pytest.approx(peak(samples) * float(gain))
    # The level of speech leaves out a rest shorter than its frame of 20 ms.
    framed = samples[: max(1, len(samples) // 320) * 320]
    for measure, measured in (
        (rms_dbfs, samples),
        (lambda x: active_speech_level_dbfs(x, 16_000), framed),
    ):
        before, after = measure(samples), measure(louder)
        if before == -math.inf or after == -math.inf:
            assert peak(measured) < 1e-30
        else:
            assert after == pytest.approx(before + 20 * math.log10(gain), abs=1e-3)
    assert (
        active_speech_level_dbfs(samples, 16_000)
        <= 20 * math.log10(max(peak(samples), 1e-300)) + 1e-6
        or peak(samples) == 0
    )


@quick
@given(levels)
def test_waveform_knows_its_length(samples: NDArray[np.float32]) -> None:
    assert Waveform(samples, 8_000).duration_s == samples.size / 8_000
