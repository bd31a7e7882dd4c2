"""Decoding, resampling and writing, against tones whose frequency and level are known."""

from __future__ import annotations

import functools
import io
import os
import shutil
import struct
import subprocess
import sys
import threading
import tracemalloc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from megaasr import audio
from megaasr.audio import (
    AudioTruncatedWarning,
    Waveform,
    active_speech_level_dbfs,
    blocks,
    duration_s,
    from_array,
    peak,
    read,
    resample,
    rms_dbfs,
    write,
)
from megaasr.audio import pcm as pcm_module
from megaasr.errors import (
    AudioEmptyError,
    AudioError,
    AudioFormatError,
    AudioNotFoundError,
    DecoderMissingError,
    UsageError,
)

TONE_HZ = 440.0
RATES = (4_000, 8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000)
CHANNELS = (1, 2, 6)
needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="the ffmpeg program is not installed"
)


def sine(rate: int, seconds: float, hertz: float = TONE_HZ, amplitude: float = 0.4) -> Any:
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def tone(
    rate: int, channels: int, seconds: float = 0.5, *, lossy: bool = False
) -> NDArray[np.float64]:
    """Make [time, channels]; the channels differ in level, so that only their mix is 0.4.

    Six channels are front left, right, centre, subwoofer, back left, right; in the order of Vorbis
    (`lossy`) left, centre, right, back left, right, subwoofer.
    """
    gains = 1 + 0.5 * np.linspace(-1, 1, channels) if channels > 1 else np.ones(1)
    weights = np.full(channels, 1 / channels)
    if channels == 6:
        weights = np.array([0.5, 0.5, 0.7071, 0, 0.3536, 0.3536])
        if lossy:
            weights = weights[[0, 2, 1, 4, 5, 3]]
        gains[weights == 0] = 0 if lossy else 1  # encoders cut 440 Hz off the subwoofer
    return np.outer(sine(rate, seconds), gains / (gains @ weights))


def encode(data: Any, rate: int, file_format: str, subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, data, rate, format=file_format, subtype=subtype)
    return buffer.getvalue()


def level_db(samples: NDArray[np.float32], amplitude: float = 0.4) -> float:
    """Level of the middle of a tone against a sine of this amplitude."""
    middle = samples[samples.size // 4 : -samples.size // 4].astype(np.float64)
    return float(10 * np.log10(np.mean(middle**2) / (amplitude**2 / 2) + 1e-30))


def frequency(samples: NDArray[np.float32], rate: int = 16_000) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size), 2**15))
    return float(np.argmax(spectrum)) * rate / 2**15


def assert_is_tone(wave: Waveform, seconds: float, tolerance_db: float, slack_s: float) -> None:
    assert wave.samples.dtype == np.float32
    assert wave.sample_rate == 16_000
    assert wave.duration_s == pytest.approx(seconds, abs=slack_s)
    assert frequency(wave.samples) == pytest.approx(TONE_HZ, abs=2.0)
    assert level_db(wave.samples) == pytest.approx(0.0, abs=tolerance_db)


@pytest.fixture
def without_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nothing = tmp_path / "empty-path"
    nothing.mkdir()
    monkeypatch.setenv("PATH", str(nothing))


# --- Formats, rates, channels -----------------------------------------------------------------

EXACT = {  # format, subtype -> largest error of a sample against the sine itself
    ("WAV", "PCM_U8"): 2e-2,
    ("WAV", "PCM_16"): 2e-4,
    ("WAV", "PCM_24"): 2e-4,
    ("WAV", "PCM_32"): 2e-4,
    ("WAV", "FLOAT"): 2e-4,
    ("WAV", "DOUBLE"): 2e-4,
    ("WAV", "ULAW"): 2e-2,
    ("WAV", "ALAW"): 2e-2,
    ("WAVEX", "PCM_16"): 2e-4,
    ("FLAC", "PCM_16"): 2e-4,
    ("FLAC", "PCM_24"): 2e-4,
    ("AIFF", "PCM_16"): 2e-4,
    ("CAF", "ALAC_16"): 2e-4,
    ("AU", "PCM_16"): 2e-4,
    ("W64", "PCM_16"): 2e-4,
    ("RF64", "PCM_16"): 2e-4,
}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("file_format", "subtype"), list(EXACT))
def test_lossless_formats_give_the_sine(file_format: str, subtype: str, rate: int) -> None:
    for channels in CHANNELS:
        wave = read(encode(tone(rate, channels), rate, file_format, subtype))
        assert_is_tone(wave, 0.5, tolerance_db=0.1, slack_s=2 / 16_000)
        middle = slice(800, 7_000)  # the ends ring, because the tone begins and stops there
        error = np.abs(wave.samples[middle] - sine(16_000, 0.5)[middle])
        assert error.max() < EXACT[file_format, subtype], channels


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_ogg_vorbis(rate: int, channels: int) -> None:
    wave = read(encode(tone(rate, channels, lossy=True), rate, "OGG", "VORBIS"))
    assert_is_tone(wave, 0.5, tolerance_db=0.5, slack_s=0.002)


@pytest.mark.parametrize("channels", CHANNELS)
def test_ogg_opus(channels: int) -> None:
    wave = read(encode(tone(48_000, channels, lossy=True), 48_000, "OGG", "OPUS"))
    assert_is_tone(wave, 0.5, tolerance_db=1.0, slack_s=0.002)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
def test_mp3(rate: int, channels: int) -> None:
    wave = read(encode(tone(rate, channels), rate, "MP3", "MPEG_LAYER_III"))
    assert_is_tone(wave, 0.5, tolerance_db=0.5, slack_s=0.002)


def test_channels_are_averaged_exactly() -> None:
    data = np.array([[1000, 3000], [-5, 6], [32767, -32768]], np.int16)
    wave = read(encode(data, 16_000, "WAV", "PCM_16"))
    assert wave.samples.tolist() == [2000 / 32768, 0.5 / 32768, -0.5 / 32768]


def test_float_files_keep_values_above_full_scale_and_dc() -> None:
    data = np.array([0.5, -3.25, 99.0, 0.5], np.float32)
    assert np.array_equal(read(encode(data, 16_000, "WAV", "FLOAT")).samples, data)


def test_the_content_decides_not_the_suffix(tmp_path: Path) -> None:
    data = encode(tone(16_000, 1), 16_000, "FLAC")
    for name in ("a.wav", "a.raw", "a.mp4", "a"):
        (tmp_path / name).write_bytes(data)
        assert_is_tone(read(tmp_path / name), 0.5, 0.05, 1e-4)


def test_sources_agree(tmp_path: Path) -> None:
    data = encode(tone(44_100, 2, seconds=1.0), 44_100, "FLAC")
    path = tmp_path / "ä ö.flac"
    path.write_bytes(data)
    expected = read(path).samples

    class Pipe(io.RawIOBase):
        """A stream that can be read once, like stdin."""

        name = "<stdin>"

        def __init__(self) -> None:
            self.inner = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            return self.inner.readinto(memoryview(buffer)[:1000])

    pipe: Any = Pipe()
    for source in (str(path), data, bytearray(data), io.BytesIO(data), pipe):
        assert np.array_equal(read(source).samples, expected)
    with path.open("rb") as stream:
        assert np.array_equal(read(stream).samples, expected)
    behind = io.BytesIO(b"head" + data)
    behind.seek(4)
    assert np.array_equal(read(behind).samples, expected)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes(tmp_path: Path) -> None:
    data = encode(tone(48_000, 2), 48_000, "WAV")
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    writer.start()
    assert_is_tone(read(tmp_path / "pipe"), 0.5, 0.05, 1e-4)
    writer.join()
    readable, writable = os.pipe()
    with os.fdopen(writable, "wb") as target, os.fdopen(readable, "rb") as source:

        def send() -> None:
            target.write(data)
            target.close()

        writer = threading.Thread(target=send)
        writer.start()
        assert_is_tone(read(source), 0.5, 0.05, 1e-4)
        writer.join()


# --- Resampling -------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [22_050, 32_000, 44_100, 48_000, 96_000, 192_000])
def test_no_alias_and_flat_passband(rate: int) -> None:
    for hertz in (8_200, 9_000, 10_500, 15_000, 20_000, 23_500, 47_000, 95_000):
        if hertz < rate / 2:
            wave = read(encode(sine(rate, 0.5, hertz), rate, "WAV", "FLOAT"))
            assert level_db(wave.samples) < -100, hertz
    for hertz in (100, 1_000, 3_000, 5_000, 7_000):
        wave = read(encode(sine(rate, 0.5, hertz), rate, "WAV", "FLOAT"))
        assert level_db(wave.samples) == pytest.approx(0, abs=0.1), hertz


@pytest.mark.parametrize(("rate", "hertz"), [(4_000, 1_700), (8_000, 3_400), (11_025, 4_800)])
def test_no_image_when_upsampling(rate: int, hertz: int) -> None:
    samples = read(encode(sine(rate, 1.0, hertz), rate, "WAV", "FLOAT")).samples
    assert level_db(samples) == pytest.approx(0, abs=0.1)
    spectrum = np.abs(np.fft.rfft(samples * np.blackman(samples.size)))
    image = spectrum[round((rate / 2 + 100) * samples.size / 16_000) :]
    assert image.size > 1_000
    assert 20 * np.log10(image.max() / spectrum.max()) < -80


def test_resample_equals_read() -> None:
    samples = sine(44_100, 2.0).astype(np.float32)
    from_file = read(encode(samples, 44_100, "WAV", "FLOAT")).samples
    assert np.array_equal(resample(samples, 44_100, 16_000), from_file)
    same = resample(samples, 16_000, 16_000)
    assert np.array_equal(same, samples)
    assert not np.shares_memory(same, samples)


@pytest.mark.parametrize("sample_rate", [4_000, 24_000, 48_000, 192_000])
def test_other_target_rates(sample_rate: int) -> None:
    wave = read(encode(tone(16_000, 1), 16_000, "WAV", "FLOAT"), sample_rate=sample_rate)
    assert wave.sample_rate == sample_rate
    assert wave.samples.size == sample_rate // 2
    assert frequency(wave.samples, sample_rate) == pytest.approx(TONE_HZ, abs=2)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("count", [1, 2, 11])
def test_a_few_samples_never_vanish(rate: int, count: int) -> None:
    wave = read(encode(np.full(count, 0.25), rate, "WAV", "FLOAT"))
    assert wave.samples.size == max(1, round(count * 16_000 / rate + 1e-9)) or (
        abs(wave.samples.size - count * 16_000 / rate) <= 1
    )
    assert np.abs(wave.samples).max() > 0.01


def test_ten_milliseconds_and_silence_read_fine() -> None:
    assert read(encode(sine(48_000, 0.01), 48_000, "WAV")).samples.size == 160
    silence = read(encode(np.zeros(8_000), 8_000, "FLAC")).samples
    assert silence.size == 16_000
    assert not silence.any()


# --- Blocks -----------------------------------------------------------------------------------


@functools.cache
def block_sources() -> dict[str, bytes]:
    noise = 0.1 * np.random.default_rng(7).standard_normal((2 * 44_100 + 13, 2))
    return {
        "wav": encode(noise, 44_100, "WAV", "PCM_16"),
        "wav-16k": encode(noise, 16_000, "WAV", "PCM_16"),
        "flac": encode(noise, 48_000, "FLAC"),
        "mp3": encode(noise, 44_100, "MP3"),
        "vorbis": encode(noise, 44_100, "OGG", "VORBIS"),
        "opus": encode(noise, 48_000, "OGG", "OPUS"),
    }


@pytest.mark.parametrize("name", ["wav", "wav-16k", "flac", "mp3", "vorbis", "opus"])
def test_blocks_joined_are_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = block_sources()[name]
    complete = read(source).samples
    assert complete.size > 20_000
    for block_s in (0.00125, 0.0333, 0.5, 7.3, 1e6):
        parts = list(blocks(source, block_s=block_s))
        size = max(1, round(block_s * 16_000))
        assert all(part.size == size for part in parts[:-1])
        assert 0 < parts[-1].size <= size
        assert np.array_equal(np.concatenate(parts), complete)
    # What the decoder is asked for at once must not matter either: an hour has many chunks.
    for values in (999, 4_096, 40_000):
        monkeypatch.setattr(pcm_module, "CHUNK_VALUES", values)
        assert np.array_equal(read(source).samples, complete)


@pytest.mark.parametrize("name", ["mp3", "vorbis", "opus", "flac"])
def test_chunked_decoding_equals_the_decoder_in_one_go(name: str) -> None:
    """Read in pieces at the file's own rate: no seam, no lost or repeated sample."""
    source = block_sources()[name]
    data, rate = soundfile.read(io.BytesIO(source), dtype="float32")
    ours = read(source, sample_rate=rate).samples
    assert np.array_equal(ours, data.mean(axis=1, dtype=np.float64).astype(np.float32))


def test_blocks_close_the_file_early(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encode(np.zeros(160_000), 16_000, "WAV"))
    stream = blocks(path, block_s=1.0)
    assert next(stream).size == 16_000
    assert isinstance(stream, Iterator)
    before = open_files(path)
    stream.close()  # type: ignore[attr-defined]
    if before is not None:
        assert (before, open_files(path)) == (1, 0)


def open_files(path: Path) -> int | None:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return None
    return sum(link.resolve() == path.resolve() for link in folder.iterdir())


@pytest.mark.parametrize("block_s", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_block_length_is_refused_at_once(block_s: float) -> None:
    with pytest.raises(UsageError, match="block_s"):
        blocks(b"", block_s=block_s)


@pytest.mark.parametrize("rate", [0, 3_999, 192_001, 16_000.0, "16000", True])
def test_bad_sample_rate_is_refused_at_once(rate: Any) -> None:
    with pytest.raises(UsageError, match="sample_rate must be"):
        blocks(b"", sample_rate=rate)


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    path = tmp_path / "hour.wav"
    minute = (sine(8_000, 60.0) * 32767).astype(np.int16)
    with soundfile.SoundFile(path, "w", 8_000, 1, "PCM_16") as file:
        for _ in range(60):
            file.write(minute)
    tracemalloc.start()
    try:
        count = sum(block.size for block in blocks(path))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 3600 * 16_000
    assert 2**20 < most < 20 * 2**20


# --- Duration ---------------------------------------------------------------------------------


def test_duration(tmp_path: Path) -> None:
    data = encode(tone(44_100, 2), 44_100, "WAV")
    (tmp_path / "a.wav").write_bytes(data)
    stream = io.BytesIO(data)
    for source in (tmp_path / "a.wav", data, stream):
        assert duration_s(source) == pytest.approx(0.5)
    assert stream.tell() == 0
    assert duration_s(encode(tone(44_100, 2), 44_100, "MP3")) == pytest.approx(0.5, abs=0.01)
    assert duration_s(b"not audio at all") is None
    with pytest.raises(AudioNotFoundError):
        duration_s(tmp_path / "missing.wav")


# --- What containers say wrongly --------------------------------------------------------------


def untagged_vbr_mp3() -> bytes:
    """10 s of noise, then 10 s of silence, at a variable rate and without a length tag."""
    noise = 0.5 * np.random.default_rng(3).standard_normal(441_000)
    buffer = io.BytesIO()
    data = np.concatenate([noise, np.zeros(441_000)])
    soundfile.write(buffer, data, 44_100, format="MP3", bitrate_mode="VARIABLE")
    mp3 = buffer.getvalue()
    tag_start = max(mp3.find(b"Xing", 0, 3000), mp3.find(b"Info", 0, 3000))
    assert tag_start > 0
    return mp3[:tag_start] + bytes(4) + mp3[tag_start + 4 :]


def test_mp3_without_length_tag_is_read_to_its_end() -> None:
    mp3 = untagged_vbr_mp3()
    alone, _ = soundfile.read(io.BytesIO(mp3))
    assert len(alone) < 15 * 44_100  # libsndfile alone loses a quarter or more: the trap is real
    wave = read(mp3)
    assert wave.duration_s == pytest.approx(20, abs=0.1)
    assert duration_s(mp3) == pytest.approx(20, abs=0.1)
    id3v1 = b"TAG" + bytes(125)
    assert abs(read(mp3 + id3v1).samples.size - wave.samples.size) < 2_000


def test_joined_mp3_files_are_read_to_the_end() -> None:
    single = encode(tone(44_100, 1, seconds=3.0), 44_100, "MP3")
    wave = read(single + single)
    assert wave.duration_s == pytest.approx(6, abs=0.2)
    assert_is_tone(Waveform(wave.samples[-40_000:], 16_000), 2.5, 0.5, 1e-3)


def test_rubbish_behind_an_mp3_is_no_damage() -> None:
    single = encode(tone(44_100, 1, seconds=3.0), 44_100, "MP3")
    tag_start = max(single.find(b"Xing", 0, 3000), single.find(b"Info", 0, 3000))
    for mp3 in (single, single[:tag_start] + bytes(4) + single[tag_start + 4 :]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            wave = read(mp3 + b"APETAGEX" + np.random.default_rng(1).bytes(3_000))
        assert wave.duration_s == pytest.approx(3, abs=0.1)


def test_mp3_behind_an_id3_tag() -> None:
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 0x7D, 0x00]) + bytes(0x7D << 7)
    wave = read(tag + encode(tone(44_100, 2), 44_100, "MP3"))
    assert_is_tone(wave, 0.5, 0.5, 0.002)


def test_wav_of_a_killed_recorder_is_read() -> None:
    wav = bytearray(encode(tone(16_000, 1), 16_000, "WAV"))
    length_offset = wav.index(b"data") + 4
    for length in (b"\0\0\0\0", b"\xff\xff\xff\xff"):
        wav[length_offset : length_offset + 4] = length
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert_is_tone(read(bytes(wav)), 0.5, 0.05, 1e-4)


def test_wav_without_sound_but_with_notes_is_empty() -> None:
    wav = encode(np.zeros(0), 16_000, "WAV") + b"LIST" + struct.pack("<I", 10) + b"INFOabcdef"
    with pytest.raises(AudioEmptyError):
        read(wav)


@pytest.mark.usefixtures("without_ffmpeg")
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.filterwarnings("error")
def test_joined_ogg_streams_are_read_to_the_end(subtype: str) -> None:
    joined = joined_ogg(subtype)
    assert read(joined).duration_s == pytest.approx(5, abs=0.01)
    assert duration_s(joined) == pytest.approx(5, abs=0.01)


def joined_ogg(subtype: str) -> bytes:
    first = encode(tone(48_000, 1, seconds=2.0), 48_000, "OGG", subtype)
    second = encode(tone(48_000, 1, seconds=3.0), 48_000, "OGG", subtype)
    assert first[14:18] != second[14:18], "the streams have the same serial number by chance"
    return first + second


# --- ffmpeg -----------------------------------------------------------------------------------


def through_ffmpeg(folder: Path, data: Any, rate: int, name: str, *options: str) -> Path:
    soundfile.write(folder / "in.wav", data, rate, subtype="FLOAT")
    target = folder / name
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(folder / "in.wav"), *options]
    done = subprocess.run([*command, str(target)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this ffmpeg cannot encode {name}: {done.stderr.strip()[:80]}")
    return target


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.m4a", ("-c:a", "aac")),
        ("a.mp4", ("-c:a", "aac", "-movflags", "faststart")),
        ("a.mov", ("-c:a", "alac")),
        ("a.webm", ("-c:a", "libopus")),
        ("a.mkv", ("-c:a", "flac")),
        ("a.aac", ()),
        ("a.wma", ()),
        ("a.3gp", ("-c:a", "aac")),
        ("a.ts", ("-c:a", "aac")),
        ("a.wv", ()),
        ("a.oga", ("-c:a", "flac")),
    ],
)
def test_formats_of_ffmpeg(name: str, options: tuple[str, ...], tmp_path: Path) -> None:
    path = through_ffmpeg(tmp_path, tone(44_100, 2, seconds=1.0), 44_100, name, *options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wave = read(path)
    assert_is_tone(wave, 1.0, tolerance_db=0.6, slack_s=0.09)


@needs_ffmpeg
def test_amr_of_a_telephone_is_decoded(tmp_path: Path) -> None:
    # Encoders of AMR are rare, so the frames are made by hand: 50 of 20 ms at 4.75 kbit/s.
    path = tmp_path / "a.amr"
    path.write_bytes(b"#!AMR\n" + (b"\x04" + bytes(12)) * 50)
    assert read(path).duration_s == pytest.approx(1.0, abs=0.03)


@needs_ffmpeg
@pytest.mark.parametrize("channels", [2, 6])
@pytest.mark.parametrize("rate", [8_000, 96_000])
def test_ffmpeg_formats_are_mixed_and_resampled_like_others(
    rate: int, channels: int, tmp_path: Path
) -> None:
    data = tone(rate, channels)
    path = through_ffmpeg(tmp_path, data, rate, "a.mkv", "-c:a", "pcm_f32le")
    expected = read(encode(data, rate, "WAV", "FLOAT")).samples
    assert np.array_equal(read(path).samples, expected)
    assert np.array_equal(read(path.read_bytes()).samples, expected)
    assert np.array_equal(np.concatenate(list(blocks(path, block_s=0.07))), expected)
    assert duration_s(path) == pytest.approx(0.5, abs=0.01)


@needs_ffmpeg
def test_values_above_full_scale_survive_ffmpeg(tmp_path: Path) -> None:
    data = sine(16_000, 0.5, amplitude=3.0).astype(np.float32)
    path = through_ffmpeg(tmp_path, data, 16_000, "a.mkv", "-c:a", "pcm_f32le")
    assert np.array_equal(read(path).samples, data)


@needs_ffmpeg
def test_video_without_sound(tmp_path: Path) -> None:
    command = ["ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc=d=0.1:s=32x32"]
    subprocess.run([*command, "-c:v", "mpeg4", str(tmp_path / "v.mp4")], check=True)
    with pytest.raises(AudioFormatError, match="no audio track"):
        read(tmp_path / "v.mp4")


@needs_ffmpeg
def test_playlists_open_no_other_file(tmp_path: Path) -> None:
    secret = through_ffmpeg(tmp_path, tone(44_100, 1), 44_100, "secret.ts", "-c:a", "aac")
    assert read(secret).duration_s > 0.4
    texts = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{secret}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile '{secret.name}'\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
    }
    for kind, text in texts.items():
        for suffix in ("mp4", "m3u8"):
            path = tmp_path / f"{kind}.{suffix}"
            path.write_text(text)
            with pytest.raises(AudioFormatError, match="not an audio file"):
                read(path)


@needs_ffmpeg
def test_ffmpeg_ends_when_the_caller_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = through_ffmpeg(tmp_path, tone(44_100, 2, 60.0), 44_100, "a.mkv", "-c:a", "pcm_s16le")
    children: list[Any] = []
    start = subprocess.Popen

    def remember(*args: Any, **kwargs: Any) -> Any:
        children.append(start(*args, **kwargs))
        return children[-1]

    monkeypatch.setattr(subprocess, "Popen", remember)
    stream = blocks(path, block_s=0.5)
    next(stream)
    assert children[-1].poll() is None
    stream.close()  # type: ignore[attr-defined]
    assert all(child.poll() is not None for child in children)


@needs_ffmpeg
def test_cut_m4a(tmp_path: Path) -> None:
    path = through_ffmpeg(
        tmp_path,
        0.1 * np.random.default_rng(1).standard_normal(4 * 44_100),
        44_100,
        "a.m4a",
        *("-c:a", "aac", "-movflags", "faststart"),
    )
    data = path.read_bytes()
    with pytest.warns(AudioTruncatedWarning, match=r"only 2\.\d+ s of 4\.00 s"):
        wave = read(data[: len(data) * 2 // 3])
    assert 1.5 < wave.duration_s < 3.5
    with pytest.raises(AudioFormatError, match="cut off at its start"):
        read(data[:200])


@needs_ffmpeg
def test_cut_m4a_with_its_index_at_the_end(tmp_path: Path) -> None:
    data = through_ffmpeg(tmp_path, tone(44_100, 1), 44_100, "a.m4a", "-c:a", "aac").read_bytes()
    with pytest.raises(AudioFormatError, match=r"damaged.*moov"):
        read(data[: len(data) // 2])


@needs_ffmpeg
def test_mp3_that_begins_in_the_middle_of_a_frame() -> None:
    mp3 = encode(tone(44_100, 1, 3.0), 44_100, "MP3")
    assert 2 < read(mp3[1_000:]).duration_s < 3.1


CONTAINER_HEADS = {
    "MP4/M4A/MOV": b"\0\0\0\x20ftypM4A \0\0\2\0",
    "WebM/Matroska": b"\x1aE\xdf\xa3\x9f\x42\x86\x81",
    "AMR": b"#!AMR\n\x3c",
    "AAC": b"\xff\xf1\x50\x40",
    "WMA/ASF": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9",
    "AVI": b"RIFF\0\0\0\0AVI LIST",
    "MPEG transport stream": (b"\x47" + bytes(187)) * 2,
}


@pytest.mark.parametrize("name", list(CONTAINER_HEADS))
@pytest.mark.usefixtures("without_ffmpeg")
def test_missing_ffmpeg_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / "call.bin"
    path.write_bytes(CONTAINER_HEADS[name] + bytes(500))
    with pytest.raises(DecoderMissingError) as caught:
        read(path)
    message = str(caught.value)
    assert caught.value.path == str(path)
    for part in (name, "ffmpeg", "apt install", "brew install", "winget install"):
        assert part in message


# --- Bad input --------------------------------------------------------------------------------


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(AudioNotFoundError, match="no such file") as caught:
        read(tmp_path / "no.wav")
    assert isinstance(caught.value, FileNotFoundError)
    for name in ("a\0b.wav", str(tmp_path / "no" / "a.wav")):
        with pytest.raises(AudioNotFoundError):
            read(name)
    with pytest.raises(AudioNotFoundError, match="download it first"):
        read("https://example.org/a.wav")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(AudioNotFoundError):
        read(tmp_path / "file" / "a.wav")


def test_folder_and_device(tmp_path: Path) -> None:
    with pytest.raises(AudioFormatError, match="a folder"):
        read(tmp_path)
    if Path("/dev/null").is_char_device():
        with pytest.raises(AudioFormatError, match="a device"):
            read("/dev/null")


def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encode(np.zeros(10), 16_000, "WAV"))

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AudioError, match=r"no permission.*chmod"):
        read(path)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file"
)
def test_permission_denied_by_the_system(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encode(np.zeros(10), 16_000, "WAV"))
    path.chmod(0)
    with pytest.raises(AudioError, match="no permission"):
        read(path)


@pytest.mark.parametrize("file_format", ["WAV", "AIFF", "AU", "CAF"])
def test_no_samples(file_format: str) -> None:
    with pytest.raises(AudioEmptyError, match="without a single sample"):
        read(encode(np.zeros(0), 16_000, file_format))


def test_zero_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    for source in (tmp_path / "a.wav", b"", io.BytesIO()):
        with pytest.raises(AudioEmptyError, match="0 bytes"):
            read(source)


@pytest.mark.parametrize("with_ffmpeg", [pytest.param(True, marks=needs_ffmpeg), False])
@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.m4a", "a.srt"])
def test_text_is_not_audio(name: str, with_ffmpeg: bool, request: Any, tmp_path: Path) -> None:
    if not with_ffmpeg:
        request.getfixturevalue("without_ffmpeg")
    path = tmp_path / name
    path.write_text("1\n00:00:01,000 --> 00:00:02,000\nThe cat sat on the mat.\n" * 50)
    with pytest.raises(AudioFormatError, match="not an audio file"):
        read(path)


@needs_ffmpeg
@pytest.mark.parametrize("seed", range(3))
def test_random_bytes_are_not_audio(seed: int) -> None:
    with pytest.raises(AudioFormatError):
        read(np.random.default_rng(seed).bytes(100_000))


@needs_ffmpeg
def test_picture_is_not_audio(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    with pytest.raises(AudioFormatError, match="not an audio file"):
        read(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("file_format", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "ULAW"),
        ("AIFF", "PCM_16"),
        ("AU", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("MP3", "MPEG_LAYER_III"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
    ],
)
def test_cut_file_gives_what_is_there(file_format: str, subtype: str) -> None:
    noise = 0.1 * np.random.default_rng(5).standard_normal(4 * 48_000)
    data = encode(noise, 48_000, file_format, subtype)
    with pytest.warns(AudioTruncatedWarning) as caught:
        half = read(data[: len(data) // 2]).samples
    assert str(caught[0].message).startswith("<bytes>: ")
    complete = read(data).samples
    assert 0.2 * complete.size < half.size < 0.6 * complete.size
    good = slice(0, int(0.9 * half.size))
    assert np.abs(half[good] - complete[good]).max() < 1e-3


@pytest.mark.parametrize("file_format", ["FLAC", "MP3"])
def test_damage_in_the_middle(file_format: str) -> None:
    noise = 0.1 * np.random.default_rng(5).standard_normal(4 * 48_000)
    data = bytearray(encode(noise, 48_000, file_format))
    middle = len(data) // 2
    data[middle : middle + 4_000] = bytes(4_000)
    with pytest.warns(AudioTruncatedWarning):
        wave = read(bytes(data))
    assert 1.5 < wave.duration_s < 4.0


@pytest.mark.usefixtures("without_ffmpeg")
@pytest.mark.parametrize("file_format", ["WAV", "FLAC", "OGG"])
def test_cut_inside_the_header(file_format: str) -> None:
    data = encode(sine(48_000, 1.0), 48_000, file_format)
    for length in (5, 20, 35):
        with pytest.raises((AudioFormatError, DecoderMissingError)):
            read(data[:length])


def test_flac_without_a_frame_that_its_header_promises() -> None:
    data = encode(sine(48_000, 1.0), 48_000, "FLAC")
    first_frame = data.index(b"\xff\xf8")
    with pytest.raises(AudioFormatError, match="not a single sample could be decoded"):
        read(data[: first_frame + 20])


def test_undamaged_files_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for source in block_sources().values():
            read(source)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_are_not_numbers_become_silence(bad: float, channels: int) -> None:
    data = np.full((7 * 48_000, channels), 0.25, np.float32)
    data[6 * 48_000, -1] = bad  # in the second chunk of one channel, the third of two
    source = encode(data, 48_000, "WAV", "FLOAT")
    with pytest.warns(AudioTruncatedWarning, match=r"<bytes>: 1 sample is .* 6\.000 s"):
        wave = read(source, sample_rate=48_000)
    expected = np.full(7 * 48_000, 0.25, np.float32)
    expected[6 * 48_000] = 0.25 * (channels - 1) / channels
    assert np.array_equal(wave.samples, expected)


@pytest.mark.filterwarnings("ignore::megaasr.audio.AudioWarning")
def test_a_file_without_a_single_number_is_refused() -> None:
    source = encode(np.full(16_000, np.nan), 16_000, "WAV", "FLOAT")
    with pytest.raises(AudioFormatError, match="none of its samples"):
        read(source)


@pytest.mark.parametrize("rate", [1_000, 3_999, 192_001, 384_000])
def test_rate_out_of_range_is_named(rate: int) -> None:
    with pytest.raises(AudioFormatError, match=f"{rate} Hz"):
        read(encode(np.zeros(1_000), rate, "WAV"))


def test_failing_streams() -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            raise OSError(5, "Input/output error")

    broken: Any = Broken()
    with pytest.raises(AudioError, match="cannot be read"):
        read(broken)
    text: Any = io.StringIO("RIFF")
    with pytest.raises(UsageError, match="binary mode"):
        read(text)
    for source in (7, None, np.zeros(3)):
        with pytest.raises(UsageError, match="path, bytes or a binary stream"):
            read(source)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("thrown", "raised"),
    [
        (OSError(5, "Input/output error"), AudioError),
        (KeyboardInterrupt(), KeyboardInterrupt),  # Ctrl-C while libsndfile waits for data
    ],
)
def test_errors_while_decoding(
    thrown: BaseException,
    raised: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encode(np.zeros(200_000), 16_000, "WAV"))

    class Failing(io.BufferedReader):
        def readinto(self, buffer: Any) -> int:
            if self.tell() > 100_000:
                raise thrown
            return super().readinto(buffer)

    monkeypatch.setattr(Path, "open", lambda self, mode: Failing(io.FileIO(self)))
    with pytest.raises(raised, match="Input/output error" if raised is AudioError else None):
        read(path)


# --- Arrays and waveforms ---------------------------------------------------------------------


def test_from_array_scales_integers() -> None:
    assert from_array(np.array([-32768, 16384], np.int16), 8_000).samples.tolist() == [-1, 0.5]
    assert from_array(np.array([-(2**31), 2**30], np.int32), 8_000).samples.tolist() == [-1, 0.5]
    assert from_array(np.array([0, 128, 192], np.uint8), 8_000).samples.tolist() == [-1, 0, 0.5]
    for kind in (np.float16, np.float32, np.float64):
        assert from_array(np.array([2.5, -1], kind), 8_000).samples.tolist() == [2.5, -1]


def test_from_array_mixes_and_resamples() -> None:
    wave = from_array(tone(48_000, 2), 48_000, to_rate=16_000)
    assert_is_tone(wave, 0.5, 0.05, 1e-4)
    assert from_array(np.array([[1.0, 0.0]]), 48_000).samples.tolist() == [0.5]
    assert from_array(np.zeros(10), np.int64(8_000)).sample_rate == 8_000  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("array", "error", "words"),
    [
        (np.zeros((2, 16_000)), UsageError, "transpose"),
        (np.zeros((2, 2, 2)), UsageError, r"\[time, channels\]"),
        (np.float32(1.0), UsageError, r"\[time, channels\]"),
        (np.zeros(3, np.int64), UsageError, "int64"),
        (np.zeros(3, complex), UsageError, "complex"),
        (np.zeros(3, bool), UsageError, "bool"),
        (np.zeros(0, np.float32), AudioEmptyError, "no samples"),
        (np.array([0, np.nan]), AudioFormatError, "0.000 s is nan"),
        (np.array([0, np.inf]), AudioFormatError, "inf"),
        (np.array([0, 1e300]), AudioFormatError, "1e.300"),
    ],
)
def test_from_array_refuses(array: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        from_array(array, 16_000)


def test_waveform_checks_its_samples() -> None:
    good = np.zeros(8_000, np.float32)
    assert Waveform(good, 16_000).duration_s == 0.5
    wrong: list[tuple[Any, Any]] = [
        (np.zeros(8_000), 16_000),
        (np.zeros((10, 1), np.float32), 16_000),
        ([0.0], 16_000),
        (good, 0),
        (good, 16_000.0),
        (good, True),
    ]
    for samples, rate in wrong:
        with pytest.raises(UsageError):
            Waveform(samples, rate)
    with pytest.raises(AudioEmptyError):
        Waveform(good[:0], 16_000)
    with pytest.raises(AudioFormatError, match="inf"):
        Waveform(np.full(1, np.inf, np.float32), 16_000)


def test_resample_refuses() -> None:
    with pytest.raises(UsageError):
        resample(np.zeros(3), 8_000, 16_000)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="to_rate"):
        resample(np.zeros(3, np.float32), 8_000, 0)
    with pytest.raises(AudioEmptyError):
        resample(np.zeros(0, np.float32), 8_000, 16_000)
    with pytest.raises(AudioFormatError):
        resample(np.array([np.nan], np.float32), 8_000, 16_000)


# --- Writing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".WAV"])
def test_write_rounds_clips_and_reads_back(suffix: str, tmp_path: Path) -> None:
    steps = np.array([0, 1, -1, 32767, -32768, 1234], np.float32)
    extra = np.array([0.4, -0.4, 0.6, 99999, -99999], np.float32)
    samples: Any = np.concatenate([steps, extra]) / np.float32(32768)
    wave = Waveform(samples, 16_000)
    write(tmp_path / f"a{suffix}", wave)
    back = read(tmp_path / f"a{suffix}").samples * 32768
    assert back.tolist() == [*steps.tolist(), 0, 0, 1, 32767, -32768]
    info = soundfile.info(tmp_path / f"a{suffix}")
    assert (info.subtype, info.channels, info.samplerate) == ("PCM_16", 1, 16_000)


def test_write_24_bits_and_same_bytes(tmp_path: Path) -> None:
    wave = Waveform(sine(22_050, 0.3).astype(np.float32), 22_050)
    for suffix in ("wav", "flac"):
        write(tmp_path / f"a.{suffix}", wave, subtype="PCM_24")
        write(tmp_path / f"b.{suffix}", wave, subtype="PCM_24")
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
        back = read(tmp_path / f"a.{suffix}", sample_rate=22_050).samples
        assert np.abs(back - wave.samples).max() <= 0.5 / 2**23
        assert soundfile.info(tmp_path / f"a.{suffix}").subtype == "PCM_24"


def test_write_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    wave = Waveform(np.zeros(10, np.float32), 16_000)
    write(path, wave)
    before = path.read_bytes()
    assert list(tmp_path.iterdir()) == [path]

    def fail(file: Any, *_: Any, **__: Any) -> None:
        file.write(b"RIFF half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(soundfile, "write", fail)
    with pytest.raises(AudioError, match="No space left on device"):
        write(path, Waveform(np.ones(10, np.float32), 16_000))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="permission bits are a POSIX matter")
def test_written_files_have_ordinary_rights(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write(tmp_path / "a.wav", Waveform(np.zeros(10, np.float32), 16_000))
    assert (tmp_path / "a.wav").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_write_refuses(tmp_path: Path) -> None:
    wave = Waveform(np.zeros(10, np.float32), 16_000)
    with pytest.raises(UsageError, match=r"\.wav and \.flac"):
        write(tmp_path / "a.mp3", wave)
    with pytest.raises(UsageError, match="subtype"):
        write(tmp_path / "a.wav", wave, subtype="FLOAT")  # type: ignore[arg-type]
    with pytest.raises(AudioError, match="create it first"):
        write(tmp_path / "no" / "a.wav", wave)
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(AudioError, match="folder of this name"):
        write(tmp_path / "folder.wav", wave)
    assert [item.name for item in tmp_path.iterdir()] == ["folder.wav"]


# --- Levels -----------------------------------------------------------------------------------


def test_levels_of_a_sine() -> None:
    samples = sine(16_000, 1.0, amplitude=1.0).astype(np.float32)
    assert rms_dbfs(samples) == pytest.approx(-3.01, abs=0.01)
    assert peak(samples) == pytest.approx(1.0, abs=1e-3)
    assert active_speech_level_dbfs(samples, 16_000) == pytest.approx(-3.01, abs=0.01)


def test_pauses_do_not_lower_the_active_level() -> None:
    speech = sine(16_000, 1.0, amplitude=0.1)
    clip = np.concatenate([1e-4 * speech, speech, np.zeros(32_000)]).astype(np.float32)
    assert rms_dbfs(clip) == pytest.approx(-23.01 - 6.02, abs=0.05)
    assert active_speech_level_dbfs(clip, 16_000) == pytest.approx(-23.01, abs=0.05)
    rare = np.concatenate([np.zeros(16_000 * 30), speech]).astype(np.float32)  # 3 % of the clip
    assert active_speech_level_dbfs(rare, 16_000) == pytest.approx(-23.01, abs=0.05)


def test_levels_of_silence_and_of_nothing() -> None:
    silence = np.zeros(100, np.float32)
    assert rms_dbfs(silence) == -np.inf
    assert active_speech_level_dbfs(silence, 16_000) == -np.inf
    assert peak(silence) == 0
    assert active_speech_level_dbfs(np.ones(1, np.float32), 16_000) == 0
    for bad in (silence[:0], np.zeros((2, 2), np.float32)):
        with pytest.raises(UsageError):
            rms_dbfs(bad)
        with pytest.raises(UsageError):
            peak(bad)
        with pytest.raises(UsageError):
            active_speech_level_dbfs(bad, 16_000)
    with pytest.raises(UsageError, match="sample_rate"):
        active_speech_level_dbfs(silence, 0)


# --- The package ------------------------------------------------------------------------------


def test_every_public_name_loads() -> None:
    for name in audio.__all__:
        assert getattr(audio, name) is not None
    with pytest.raises(AttributeError):
        audio.no_such_name  # noqa: B018


def test_importing_loads_no_decoder_and_no_torch() -> None:
    code = (
        "import sys, megaasr.audio; from megaasr.audio import Waveform, rms_dbfs\n"
        "assert not {'soundfile', 'soxr', 'torch'} & set(sys.modules)\n"
        "import megaasr.audio.files\nassert 'torch' not in sys.modules"
    )
    source = str(Path(audio.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
