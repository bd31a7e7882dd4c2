"""Damaged, joined and unusual recordings: nothing is lost without a word, nothing is shifted."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import struct
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from megaasr.audio import (
    AudioTruncatedWarning,
    AudioWarning,
    Selection,
    blocks,
    from_array,
    read,
)
from megaasr.audio.conditioning import without_low_frequencies
from megaasr.audio.ffmpeg import tracks_of
from megaasr.audio.mp4 import plain_track
from megaasr.audio.notes import AudioNotes
from megaasr.audio.ogg import checksum
from megaasr.audio.source import open_source
from megaasr.audio.tracks import parse
from megaasr.errors import AudioError, AudioFormatError

RATE = 16_000
DATA = Path(__file__).parents[1] / "data" / "damaged"
needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="the ffmpeg program is not installed"
)


def noise(seconds: float, channels: int = 1, *, seed: int = 1, rate: int = RATE) -> NDArray[Any]:
    samples = 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
    return samples.astype(np.float32)


def encode(data: Any, file_format: str, subtype: str | None = None, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, data, rate, format=file_format, subtype=subtype)
    return buffer.getvalue()


def decode(source: Any, **selection: Any) -> tuple[NDArray[np.float32], AudioNotes]:
    """Return the samples and the notes, whatever is warned of."""
    notes = AudioNotes("")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = list(blocks(source, selection=Selection(**selection), notes=notes))
    return np.concatenate(parts), notes


def kinds(notes: AudioNotes) -> list[str]:
    return [note.kind for note in notes]


# --- Sound after the end that a decoder believes in -------------------------------------------


@pytest.mark.parametrize("with_ffmpeg", [True, False])
def test_joined_mp3_files_of_other_channels(
    with_ffmpeg: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_ffmpeg:
        monkeypatch.setenv("PATH", "")
    samples, notes = decode(DATA / "join_44s_44m.mp3")
    assert len(samples) / RATE == pytest.approx(3.303 + 3.485, abs=0.02)
    assert not notes


@pytest.mark.parametrize(
    ("first", "second"), [((1, 16_000), (2, 44_100)), ((2, 48_000), (1, 22_050))]
)
@pytest.mark.parametrize("file_format", ["MP3", "FLAC", "OGG", "WAV", "AIFF"])
def test_joined_files_of_other_rates_and_channels(
    file_format: str, first: tuple[int, int], second: tuple[int, int]
) -> None:
    data = b"".join(
        encode(noise(seconds, channels, rate=rate), file_format, rate=rate)
        for seconds, (channels, rate) in ((2.0, first), (3.0, second), (1.0, first))
    )
    samples, notes = decode(data)
    assert len(samples) / RATE == pytest.approx(6.0, abs=0.01)
    assert not notes


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["mp4", "mka", "mp3", "opus"])
def test_joined_containers(suffix: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", noise(2.0, rate=48_000), 48_000)
    run_ffmpeg("-i", tmp_path / "in.wav", tmp_path / f"a.{suffix}")
    data = (tmp_path / f"a.{suffix}").read_bytes()
    alone, _ = decode(data)
    samples, notes = decode(data + data)
    assert len(samples) == pytest.approx(2 * len(alone), abs=RATE // 50)
    assert not notes


def test_zeros_inside_an_mp3_are_left_out_and_told() -> None:
    samples, notes = decode(DATA / "y_zero1000.mp3")
    assert len(samples) / RATE == pytest.approx(21.7, abs=0.3)
    assert kinds(notes) == ["damaged"]
    assert notes[0].at_s == pytest.approx(7.42, abs=0.1)
    assert "1008 bytes between the frames are not audio, from 7.42 s on" in notes[0].message


def test_rubbish_before_the_first_frame() -> None:
    samples, notes = decode(DATA / "zero100k_then.mp3")
    assert len(samples) / RATE == pytest.approx(3.5, abs=0.1)
    assert kinds(notes) == ["repaired"]


@pytest.mark.parametrize("file_format", ["WAV", "FLAC", "OGG", "AIFF", "MP3"])
def test_rubbish_before_a_file(file_format: str) -> None:
    data = encode(noise(2.0), file_format)
    expected, _ = decode(data)
    rubbish = np.random.default_rng(3).bytes(70_000)
    samples, notes = decode(rubbish + data)
    assert np.array_equal(samples, expected)
    assert kinds(notes) == ["repaired"]
    assert "70000 bytes before the recording" in notes[0].message


@pytest.mark.parametrize("stated", [0, 1_000, 32_000])
@pytest.mark.parametrize(("file_format", "name"), [("WAV", b"data"), ("AIFF", b"SSND")])
def test_sound_behind_the_stated_end(file_format: str, name: bytes, stated: int) -> None:
    data = bytearray(encode(noise(3.0), file_format))
    offset = data.index(name) + 4
    struct.pack_into("<I" if file_format == "WAV" else ">I", data, offset, stated)
    expected, _ = decode(encode(noise(3.0), file_format))
    samples, notes = decode(bytes(data))
    assert len(samples) == pytest.approx(len(expected), abs=4)
    assert np.array_equal(samples[:40_000], expected[:40_000])
    assert kinds(notes) == ["repaired"] * (stated > 0)


def test_a_stale_au_header() -> None:
    data = bytearray(encode(noise(3.0), "AU"))
    struct.pack_into(">I", data, 8, 32_000)
    samples, notes = decode(bytes(data))
    assert len(samples) == 3 * RATE
    assert kinds(notes) == ["repaired"]


def test_two_chunks_of_sound_in_one_wav() -> None:
    data = encode(noise(2.0), "WAV")
    second = encode(noise(1.0, seed=2), "WAV")
    chunk = second[second.index(b"data") :]
    samples, notes = decode(data + chunk)
    assert len(samples) == 3 * RATE
    assert not notes


@pytest.mark.parametrize(
    "trailer",
    [
        b"LIST" + struct.pack("<I", 26) + b"INFOISFT\x0e\0\0\0Lavf59.27.100\0",
        b"id3 " + struct.pack("<I", 100) + bytes(100),
        b"TAG" + bytes(125),
        bytes(5_000),
        b"ID3\x04\0\0\0\0\x10\0" + bytes(2_048),
    ],
)
def test_what_programs_append_to_a_wav_is_no_sound(trailer: bytes) -> None:
    samples, notes = decode(encode(noise(2.0), "WAV") + trailer)
    assert len(samples) == 2 * RATE
    assert not notes


@pytest.mark.parametrize("file_format", ["FLAC", "OGG", "MP3"])
def test_bytes_overwritten_in_the_middle_are_told(file_format: str) -> None:
    data = bytearray(encode(noise(6.0), file_format))
    middle = len(data) // 2
    data[middle : middle + 6_000] = np.random.default_rng(1).bytes(6_000)
    samples, notes = decode(bytes(data))
    assert 3.0 < len(samples) / RATE < 6.1
    assert {"damaged", "truncated"} & set(kinds(notes))


def test_a_part_that_cannot_be_decoded_costs_only_itself() -> None:
    flac = encode(noise(2.0), "FLAC")
    header_only = flac[: flac.index(b"\xff\xf8") + 20]
    samples, notes = decode(flac + header_only)
    assert len(samples) == 2 * RATE
    assert kinds(notes) == ["damaged"]


def test_frames_behind_a_gap_are_no_loud_noise() -> None:
    samples, _ = decode(DATA / "y_zero1000.mp3")
    assert np.abs(samples).max() < 1  # noise of 2.8 where the bytes before the frame are missing


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("count", [1, 300])
def test_a_damaged_page_of_an_ogg_file_is_told(subtype: str, count: int) -> None:
    data = bytearray(encode(noise(20.0), "OGG", subtype))
    pages = [match.start() for match in re.finditer(b"OggS", data)]
    start = pages[len(pages) // 2] + 300
    data[start : start + count] = bytes(byte ^ 1 for byte in data[start : start + count])
    samples, notes = decode(bytes(data))
    assert len(samples) / RATE <= 20
    assert kinds(notes) == ["damaged"]
    assert "1 page of the Ogg stream is damaged, and was left out" in notes[0].message
    assert notes[0].at_s is not None
    assert 5 < notes[0].at_s < 15


def test_the_checksum_of_a_page() -> None:
    data = encode(noise(1.0), "OGG")
    page = bytearray(data[: data.index(b"OggS", 4)])
    (stated,) = struct.unpack_from("<I", page, 22)
    page[22:26] = bytes(4)
    assert checksum(bytes(page)) == stated


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *[("CAF", "CAF"), ("W64", "W64"), ("RF64", "WAV"), ("WAV", "FLAC"), ("WAV", "CAF")],
        *[("AIFF", "OGG"), ("OGG", "WAV"), ("CAF", "MP3"), ("AU", "AU"), ("WAV", "MP3")],
    ],
)
def test_another_file_behind_the_end_of_a_container(first: str, second: str) -> None:
    data = encode(noise(2.0), first) + encode(noise(1.0, 2, rate=48_000), second, rate=48_000)
    samples, notes = decode(data)
    assert len(samples) / RATE == pytest.approx(3.0, abs=0.01)
    assert not notes


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["mka", "mp4", "avi", "wma"])
def test_a_wav_behind_the_end_of_a_container(suffix: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", noise(2.0), RATE)
    run_ffmpeg("-i", tmp_path / "in.wav", tmp_path / f"a.{suffix}")
    alone, _ = decode(tmp_path / f"a.{suffix}")
    samples, notes = decode((tmp_path / f"a.{suffix}").read_bytes() + encode(noise(1.0), "WAV"))
    assert len(samples) == pytest.approx(len(alone) + RATE, abs=2)
    assert not notes


@pytest.mark.parametrize("file_format", ["WAV", "AIFF", "FLAC", "OGG", "CAF", "W64", "MP3"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"ID3\x04\0\0\0\0\x10\0" + bytes(2_048), b""),
        (b"", b"TAG" + bytes(125)),
        (b"", bytes(5_000)),
        (b"", bytes(500) + b"TAG" + bytes(125)),
    ],
)
def test_tags_and_padding_are_no_damage(file_format: str, before: bytes, after: bytes) -> None:
    data = encode(noise(2.0), file_format)
    expected, _ = decode(data)
    samples, notes = decode(before + data + after)
    assert np.array_equal(samples, expected)
    assert not notes


@needs_ffmpeg
def test_an_mp3_behind_raw_aac(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", noise(2.0), RATE)
    run_ffmpeg("-i", tmp_path / "in.wav", tmp_path / "a.aac")
    samples, _ = decode((tmp_path / "a.aac").read_bytes() + encode(noise(1.0), "MP3"))
    assert len(samples) / RATE == pytest.approx(3.1, abs=0.15)  # the padding of AAC is unknown


@pytest.mark.parametrize("file_format", ["W64", "RF64", "WAV", "AIFF", "CAF", "FLAC", "OGG"])
def test_a_file_that_was_cut_is_told(file_format: str) -> None:
    data = encode(noise(2.0), file_format)
    _, notes = decode(data[: len(data) * 2 // 3])
    assert kinds(notes) == ["truncated"]


def test_a_decoder_is_freed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Any] = []
    close = soundfile.SoundFile.close

    def closing_again(file: soundfile.SoundFile) -> None:
        closed.append(file)
        if len(closed) < 9:
            file.close()  # as a generator does that is collected while libsndfile closes the file
        close(file)

    data = encode(noise(1.0), "WAV")
    monkeypatch.setattr(soundfile.SoundFile, "close", closing_again)
    decode(data)
    assert len(closed) == len(set(map(id, closed)))


@pytest.mark.parametrize("file_format", ["CAF", "W64", "RF64", "AU"])
def test_rubbish_before_other_containers(file_format: str) -> None:
    data = encode(noise(2.0), file_format)
    samples, notes = decode(np.random.default_rng(3).bytes(5_000) + data)
    assert len(samples) == 2 * RATE
    assert kinds(notes) == ["repaired"]


@needs_ffmpeg
def test_a_wrong_checksum_of_a_frame_is_told(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", noise(3.0), RATE)
    run_ffmpeg("-i", tmp_path / "in.wav", "-c:a", "flac", tmp_path / "a.mka")
    data = bytearray((tmp_path / "a.mka").read_bytes())
    data[len(data) // 2] ^= 0x10
    _, notes = decode(bytes(data))
    assert set(kinds(notes)) <= {"damaged", "truncated"}
    assert notes


def test_a_header_that_points_beyond_all_files(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(encode(noise(1.0), "CAF"))
    struct.pack_into(">q", data, data.index(b"free") + 4, 2**62)
    with contextlib.suppress(AudioFormatError):
        decode(bytes(data))
    assert "Traceback" not in capfd.readouterr().err


def test_nothing_is_printed_about_a_sample_dump(capfd: pytest.CaptureFixture[str]) -> None:
    data = encode(noise(1.0), "SDS")
    with contextlib.suppress(AudioError):
        decode(b"ID3\x04\0\0\0\0\x10\0" + bytes(2_048) + data)
    assert capfd.readouterr().out == ""


# --- Which sound ------------------------------------------------------------------------------


def test_channels_that_cancel_are_heard() -> None:
    speech = noise(5.0)[:, 0]
    hiss = 0.01 * noise(5.0, seed=2)[:, 0]
    samples, notes = decode(encode(np.stack([speech + hiss, hiss - speech], 1), "WAV", "FLOAT"))
    assert np.allclose(samples, speech, atol=1e-6)
    assert kinds(notes) == ["channels"]


def test_unrelated_channels_are_averaged() -> None:
    both = noise(3.0, 2)
    samples, notes = decode(encode(both, "WAV", "FLOAT"))
    assert np.allclose(samples, both.mean(axis=1), atol=1e-7)
    assert not notes


def test_six_channels_of_which_five_cancel() -> None:
    speech = noise(3.0)[:, 0]
    data = np.stack([speech, -speech, 0 * speech, 0 * speech, 0 * speech, 0 * speech], axis=1)
    samples, notes = decode(encode(data, "WAV", "FLOAT"))
    assert np.allclose(samples, speech, atol=1e-6)
    assert kinds(notes) == ["channels"]


@pytest.mark.parametrize("file_format", ["FLAC", "WAV", "OGG"])
def test_dialogue_in_the_centre_keeps_its_weight(file_format: str) -> None:
    centre = 1 if file_format == "OGG" else 2
    data = np.zeros((3 * RATE, 6), np.float32)
    data[:, centre] = noise(3.0)[:, 0]
    samples, _ = decode(encode(data, file_format))
    level = np.sqrt(np.mean(samples**2) / np.mean(data[:, centre] ** 2))
    assert level == pytest.approx(0.7071, abs=0.1 if file_format == "OGG" else 0.001)


@pytest.mark.parametrize(("choice", "index"), [("left", 0), ("right", 1), (1, 0), (2, 1)])
def test_one_channel(choice: Any, index: int) -> None:
    both = noise(2.0, 2)
    samples, notes = decode(encode(both, "WAV", "FLOAT"), channels=choice)
    assert np.array_equal(samples, both[:, index])
    assert not notes


def test_a_channel_that_is_not_there() -> None:
    with pytest.raises(AudioError, match="has 1 channel, there is no channel 'right'"):
        decode(encode(noise(1.0), "WAV"), channels="right")
    with pytest.raises(AudioError, match="has 2 channels, there is no channel 3"):
        decode(encode(noise(1.0, 2), "WAV"), channels=3)


@needs_ffmpeg
def test_a_silent_default_track_does_not_win() -> None:
    with pytest.warns(AudioWarning, match="has 2 audio tracks: 1, 2; track 2 was decoded"):
        wave = read(DATA / "twotracks_silent_first.m4a")
    assert np.abs(wave.samples).max() > 0.1
    silent, notes = decode(DATA / "twotracks_silent_first.m4a", track=1)
    assert np.abs(silent).max() < 1e-3
    assert not notes
    with pytest.raises(AudioError, match="has 2 audio tracks, there is no track 3"):
        decode(DATA / "twotracks_silent_first.m4a", track=3)
    with pytest.raises(AudioError, match="has 1 audio track, there is no track 2"):
        decode(encode(noise(1.0), "WAV"), track=2)


@needs_ffmpeg
@pytest.mark.parametrize(("silent_first", "used"), [(True, 2), (False, 1)])
def test_tracks(silent_first: bool, used: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(2 * RATE), RATE)
    soundfile.write(tmp_path / "speech.wav", noise(2.0), RATE)
    names = ["silent.wav", "speech.wav"] if silent_first else ["speech.wav", "silent.wav"]
    inputs = [argument for name in names for argument in ("-i", tmp_path / name)]
    languages = ["-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu"]
    run_ffmpeg(*inputs, "-map", "0", "-map", "1", *languages, tmp_path / "a.mka")
    samples, notes = decode(tmp_path / "a.mka")
    assert np.abs(samples).max() > 0.1
    assert kinds(notes) == ["tracks"]
    assert "has 2 audio tracks: 1 (eng), 2 (ger); " in notes[0].message.replace("deu", "ger")
    assert f"track {used} " in notes[0].message
    assert ("is silent" in notes[0].message) == silent_first


@pytest.mark.parametrize("full_scale", [2**15, 2**23, 2**31])
def test_floats_in_the_scale_of_integers(full_scale: int) -> None:
    speech = noise(2.0)[:, 0]
    samples, notes = decode(encode(speech * full_scale, "WAV", "FLOAT"))
    assert np.allclose(samples, speech, rtol=1e-5)
    assert kinds(notes) == ["rescaled"]
    with pytest.warns(AudioWarning, match=f"divided by {full_scale}"):
        wave = from_array(speech * np.float32(full_scale), RATE)
    assert np.allclose(wave.samples, speech, rtol=1e-5)


def test_some_damaged_floats_are_no_integers() -> None:
    speech = noise(2.0)[:, 0]
    data = speech.copy()
    data[[500, 10_000, 20_000]] = [30_000, -1e9, 1e30]
    samples, notes = decode(encode(data, "WAV", "FLOAT"))
    assert kinds(notes) == ["damaged"]
    assert notes[0].message.startswith("3 samples are not a level of sound")
    data[[500, 10_000, 20_000]] = 0
    assert np.array_equal(samples, data)


@needs_ffmpeg
def test_floats_in_the_scale_of_integers_through_ffmpeg(tmp_path: Path) -> None:
    speech = noise(2.0)[:, 0]
    soundfile.write(tmp_path / "in.wav", speech * 32_768, RATE, subtype="FLOAT")
    run_ffmpeg("-i", tmp_path / "in.wav", "-c:a", "pcm_f32le", tmp_path / "a.mka")
    samples, notes = decode(tmp_path / "a.mka")
    assert np.allclose(samples, speech, rtol=1e-5)
    assert kinds(notes) == ["rescaled"]


# --- Times ------------------------------------------------------------------------------------


@needs_ffmpeg
def test_a_track_that_starts_late_keeps_its_time() -> None:
    samples, notes = decode(DATA / "delayed.mp4")
    sound = np.flatnonzero(np.abs(samples) > 0.02) / RATE
    assert sound[0] == pytest.approx(4.84, abs=0.1)
    assert len(samples) / RATE == pytest.approx(4.84 + 3.55, abs=0.1)
    assert not notes


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["mka", "webm", "mp4"])
def test_a_hole_in_the_time_stamps_is_silence(suffix: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", noise(6.0, rate=48_000), 48_000)
    codec = "aac" if suffix == "mp4" else "libopus"
    run_ffmpeg(
        *("-i", tmp_path / "in.wav", "-c:a", codec),
        *("-af", "aselect='not(between(t,2,4))'"),
        tmp_path / f"a.{suffix}",
    )
    samples, notes = decode(tmp_path / f"a.{suffix}")
    assert len(samples) / RATE == pytest.approx(6.0, abs=0.1)
    levels = np.sqrt(np.mean(samples[: 11 * RATE // 2].reshape(-1, RATE // 2) ** 2, axis=1))
    assert (levels[[0, 1, 2, 3, 8, 9, 10]] > 0.05).all()
    assert (levels[[5, 6]] < 0.001).all()
    assert not notes


def test_time_stamps_that_cannot_be_true_are_not_followed() -> None:
    def packets(*starts: float) -> str:
        return "".join(
            f"packet|stream_index=0|pts_time={start}|duration_time=0.02\n" for start in starts
        )

    stream = "stream|index=0|codec_name=opus|channels=1|channel_layout=mono|start_time=0.0\n"
    container = "format|format_name=matroska,webm|start_time=0.0\n"
    (track,) = parse(packets(0.0, 0.02, 50_000.0, 50_000.02) + stream + container)
    assert track.error_s == pytest.approx(49_999.96)
    assert track.holes == ()
    (track,) = parse(packets(0.0, 0.02, 0.04, 0.5, 0.3, 0.32) + stream + container)
    assert [(round(hole.at_s, 3), round(hole.length_s, 3)) for hole in track.holes] == [
        (0.06, 0.44)
    ]
    assert track.jumps_back_s == pytest.approx(0.22)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("options", "plain"),
    [
        ("-c:a aac", True),
        ("-c:a alac", True),
        ("-c:a aac -movflags faststart", True),
        ("-c:a aac -movflags frag_keyframe+empty_moov", False),
        (r"-c:a aac -af aselect=not(between(t\,2\,4))", False),
        ("-map 0 -map 0 -c:a aac", False),
    ],
)
def test_an_mp4_that_needs_no_ffprobe(options: str, plain: bool, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", noise(6.0, rate=48_000), 48_000)
    run_ffmpeg("-i", tmp_path / "in.wav", *options.split(), tmp_path / "a.m4a")
    data = (tmp_path / "a.m4a").read_bytes()
    track = plain_track(io.BytesIO(data), len(data))
    with open_source(data) as source:
        probed = tracks_of(source)
    if plain:
        assert track is not None
        assert [track.codec] == [other.codec for other in probed]
        assert track.duration_s == pytest.approx(probed[0].duration_s, abs=0.001)
        assert probed[0].holes == ()
    else:
        assert track is None
    for size in range(0, len(data), 997):
        plain_track(io.BytesIO(data[:size]), size)  # raises nothing


# --- Samples that are not sound ---------------------------------------------------------------


def test_a_bad_sample_does_not_cost_the_rest() -> None:
    data = noise(3.0)
    data[-1] = np.nan
    with pytest.warns(AudioTruncatedWarning, match="1 sample is not a level of sound"):
        wave = read(encode(data, "WAV", "FLOAT"))
    assert np.array_equal(wave.samples[:-1], data[:-1, 0])
    assert wave.samples[-1] == 0


def test_raw_floats_are_not_taken_for_amr() -> None:
    time_s = np.arange(24_000) / RATE
    raw = (0.2 * np.sin(2 * np.pi * 440 * time_s)).astype(">f4").tobytes()
    for start in (0, 1_001, 25_568):
        with pytest.raises(AudioFormatError, match="not an audio file"):
            read(raw[start:])


def test_nothing_but_rubbish_is_refused() -> None:
    with pytest.raises(AudioFormatError, match="not an audio file"):
        read(np.random.default_rng(0).bytes(300_000))


def run_ffmpeg(*arguments: str | Path) -> None:
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this ffmpeg cannot encode: {done.stderr.strip()[:80]}")


# --- Hum and offset ---------------------------------------------------------------------------


def tone(hertz: float, amplitude: float, seconds: float) -> NDArray[np.float32]:
    times = np.arange(round(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def conditioned(samples: NDArray[np.float32], size: int) -> tuple[NDArray[np.float32], AudioNotes]:
    notes = AudioNotes("")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        blocks = (samples[i : i + size] for i in range(0, len(samples), size))
        parts = without_low_frequencies(blocks, notes)
        return np.concatenate(list(parts)), notes


@pytest.mark.parametrize("size", [1_000, 160_000, 500_000])
@pytest.mark.parametrize("disturbance", ["offset", "50 Hz", "60 Hz"])
def test_hum_and_offset_stronger_than_speech_are_removed(disturbance: str, size: int) -> None:
    speech = noise(25.0)[:, 0] + tone(440, 0.2, 25.0)
    speech -= speech.mean()
    if disturbance == "offset":
        disturbed = speech + np.float32(0.5)
    else:
        disturbed = speech + tone(float(disturbance.removesuffix(" Hz")), 0.6, 25.0)
    cleaned, notes = conditioned(disturbed, size)
    assert len(cleaned) == len(speech)
    assert kinds(notes) == ["filtered"]
    difference = cleaned - speech
    assert np.sqrt(np.mean(difference**2)) < 0.02  # the noise below 100 Hz is removed, too
    spectrum = np.abs(np.fft.rfft(cleaned * np.hanning(len(cleaned)))) / len(cleaned)
    assert spectrum[440 * 25] == pytest.approx(0.2 / 4, rel=0.02)
    assert spectrum[55 * 25 - 130 : 55 * 25 + 130].max() < 3e-4


@pytest.mark.parametrize("size", [1_000, 500_000])
def test_everything_else_is_passed_on_unchanged(size: int) -> None:
    speech = noise(25.0)[:, 0] + tone(50, 0.1, 25.0) + np.float32(0.02)
    unchanged, notes = conditioned(speech, size)
    assert np.array_equal(unchanged, speech)
    assert not notes
    silence = np.full(30_000, 1e-5, np.float32)
    assert np.array_equal(conditioned(silence, size)[0], silence)
