"""Whole recordings of every container and codec that libsndfile and ffmpeg write here.

Every recording holds the same kind of sound: a sweep over noise with a peak of about 0.3.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

LENGTH_S = 1.5
PEAK = 0.35
# Raw files cannot be recognised; SD2 stores its header in another file.
_NOT_RECOGNISABLE = frozenset(("RAW", "SD2"))
_VARIED = {  # formats that are written with other rates and channels, too
    "WAV": ((4_000, 1), (44_100, 2), (48_000, 6), (96_000, 3), (192_000, 8)),
    "FLAC": ((8_000, 1), (44_100, 2), (48_000, 6), (96_000, 4), (192_000, 2)),
    "OGG": ((8_000, 1), (44_100, 2), (48_000, 6), (32_000, 4)),
    "MP3": ((8_000, 1), (11_025, 2), (22_050, 1), (32_000, 2), (44_100, 2), (48_000, 1)),
    "AIFF": ((11_025, 1), (44_100, 2), (48_000, 6)),
    "CAF": ((22_050, 2), (48_000, 6)),
    "AU": ((8_000, 1), (44_100, 2)),
}
_R16, _R44, _R48 = (16_000, 1), (44_100, 2), (48_000, 2)
_BY_FFMPEG: tuple[tuple[str, tuple[tuple[int, int], ...], str], ...] = (
    ("mp3", ((16_000, 1), (44_100, 2)), "-c:a libmp3lame -b:a 64k"),
    ("mp3", ((44_100, 2),), "-c:a libmp3lame -b:a 128k -write_xing 0"),
    ("mp3", ((24_000, 1), (48_000, 2)), "-c:a libmp3lame -q:a 4"),
    ("mp3", ((44_100, 1),), "-c:a libmp3lame -b:a 96k -abr 1"),
    ("mp3", ((44_100, 2),), "-c:a libmp3lame -q:a 2 -write_xing 0 -id3v2_version 0"),
    ("mp3", ((44_100, 2),), "-c:a libshine -b:a 128k"),
    ("mp2", (_R16, _R48), "-c:a mp2"),
    ("mp2", (_R44,), "-c:a libtwolame"),
    ("flac", (_R16, (48_000, 6)), "-c:a flac"),
    ("ogg", (_R44, _R16), "-c:a libvorbis"),
    ("opus", (_R48, (16_000, 1), (48_000, 6)), "-c:a libopus"),
    ("ogg", (_R44,), "-c:a flac"),
    ("spx", (_R16, (8_000, 1), (32_000, 2)), "-c:a libspeex"),
    ("m4a", (_R16, _R44, (48_000, 6), (96_000, 2)), "-c:a aac"),
    ("m4a", (_R44,), "-c:a alac"),
    ("mp4", (_R44,), "-c:a aac -movflags faststart"),
    ("mp4", (_R48,), "-c:a aac -movflags frag_keyframe+empty_moov -frag_duration 300000"),
    ("mp4", (_R48,), "-c:a libopus -strict -2"),
    ("mp4", (_R48,), "-c:a libmp3lame"),
    ("mp4", (_R48,), "-c:a ac3"),
    ("mov", (_R44,), "-c:a pcm_s16le"),
    ("mov", ((48_000, 2), (16_000, 1)), "-c:a pcm_s24be"),
    ("mov", (_R44,), "-c:a adpcm_ima_qt"),
    ("mov", (_R44,), "-c:a pcm_f32le"),
    ("mka", (_R44, (48_000, 6)), "-c:a aac"),
    ("mka", (_R48,), "-c:a libopus"),
    ("mka", (_R44,), "-c:a flac"),
    ("mka", (_R44,), "-c:a pcm_s16le"),
    ("mka", (_R44,), "-c:a libmp3lame"),
    ("mka", (_R48,), "-c:a wavpack"),
    ("mka", (_R44,), "-c:a libvorbis"),
    ("webm", (_R48,), "-c:a libopus"),
    ("webm", (_R44,), "-c:a libvorbis"),
    ("wma", (_R44, _R16), "-c:a wmav2"),
    ("wma", (_R44,), "-c:a wmav1"),
    ("adts", (_R44, _R16, (48_000, 6)), "-c:a aac"),
    ("latm", (_R44,), "-c:a aac"),
    ("ac3", (_R48, (48_000, 6), (32_000, 1)), "-c:a ac3"),
    ("eac3", (_R48,), "-c:a eac3"),
    ("dts", ((48_000, 2),), "-c:a dca -strict -2"),
    ("wv", (_R16, _R44), "-c:a wavpack"),
    ("wv", (_R44,), "-c:a wavpack -sample_fmt fltp"),
    ("tta", (_R44,), "-c:a tta"),
    ("mpegts", (_R48,), "-c:a mp2"),
    ("mpegts", (_R48,), "-c:a aac"),
    ("mpegts", (_R48,), "-c:a ac3"),
    ("mpeg", (_R48,), "-c:a mp2"),
    ("flv", (_R44,), "-c:a aac"),
    ("flv", ((22_050, 1),), "-c:a libmp3lame"),
    ("avi", (_R44,), "-c:a libmp3lame"),
    ("avi", (_R44,), "-c:a pcm_s16le"),
    ("avi", (_R48,), "-c:a ac3"),
    ("3gp", (_R16,), "-c:a aac"),
    ("caf", (_R44,), "-c:a alac"),
    ("caf", (_R44,), "-c:a pcm_s16le"),
    ("wav", (_R16, _R44), "-c:a pcm_s16le"),
    ("wav", (_R44,), "-c:a pcm_f32le"),
    ("wav", (_R44,), "-c:a adpcm_ima_wav"),
    ("wav", (_R44,), "-c:a adpcm_ms"),
    ("wav", (_R44,), "-c:a libmp3lame"),
    ("wav", (_R44,), "-c:a ac3"),
    ("wav", ((8_000, 1),), "-c:a g726"),
    ("w64", (_R44,), "-c:a pcm_s16le"),
    ("rm", (_R44,), "-c:a ac3"),
    ("au", (_R44,), "-c:a pcm_s16be"),
    ("voc", (_R16,), "-c:a pcm_u8"),
    ("aiff", (_R44,), "-c:a pcm_s16be"),
)
# Formats that store another rate than the requested one, and the rate that they store.
_STORED_RATES = {"XI": 44_100, "WVE": 8_000, "HTK": 16_000}
_TWO_TRACKS = (("mka", "-c:a libopus"), ("mp4", "-c:a aac"), ("mpegts", "-c:a mp2"))
_SUFFIXES = {"adts": "aac", "mpegts": "ts", "latm": "latm", "mpeg": "mpg"}


@dataclass(frozen=True, slots=True)
class Base:
    """A whole recording.

    Attributes:
        name: container, codec, rate and channels; also the name of its file.
        container: group of recordings that may be joined and exchange headers.
        data: the bytes of the file.
        length_s: length of the sound that was encoded, in seconds.
    """

    name: str
    container: str
    data: bytes
    length_s: float = LENGTH_S


def sound(rate: int, channels: int, *, seed: int = 0, length_s: float = LENGTH_S) -> Any:
    """Return a sweep over noise, float32 [frames, channels]; the channels are not equal."""
    time_s = np.arange(round(length_s * rate)) / rate
    top_hz = min(3_000.0, 0.4 * rate)
    sweep = 0.2 * np.sin(2 * np.pi * (200 + (top_hz - 200) * time_s / (2 * length_s)) * time_s)
    noise = 0.02 * np.random.default_rng(seed).standard_normal((len(time_s), channels))
    return np.clip(sweep[:, None] + noise, -0.3, 0.3).astype(np.float32)


def make_bases(folder: Path) -> list[Base]:
    """Write all recordings into a folder, or read those that are there already."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "complete").exists():
        _by_libsndfile(folder)
        _by_ffmpeg(folder)
        (folder / "complete").touch()
    bases = []
    for path in sorted(folder.glob("*.bin")):
        name = path.stem
        container, codec, rate, _ = name.split("~")
        stored = _STORED_RATES.get(codec.split("_", maxsplit=1)[0], int(rate))
        bases.append(Base(name, container, path.read_bytes(), LENGTH_S * int(rate) / stored))
    return bases


def _by_libsndfile(folder: Path) -> None:
    for file_format in soundfile.available_formats():
        if file_format in _NOT_RECOGNISABLE:
            continue
        for subtype in soundfile.available_subtypes(file_format):
            _write(folder, file_format, subtype, 8_000 if "GSM" in subtype else 16_000, 1)
        for rate, channels in _VARIED.get(file_format, ()):
            _write(folder, file_format, soundfile.default_subtype(file_format), rate, channels)
    for rate, channels in ((8_000, 1), (48_000, 2)):
        _write(folder, "OGG", "OPUS", rate, channels)


def _write(folder: Path, file_format: str, subtype: str, rate: int, channels: int) -> None:
    container = {"WAVEX": "wav", "RF64": "wav"}.get(file_format, file_format.lower())
    path = folder / f"{container}~{file_format}_{subtype}~{rate}~{channels}.bin"
    try:
        soundfile.write(path, sound(rate, channels), rate, format=file_format, subtype=subtype)
    except (soundfile.LibsndfileError, ValueError, TypeError):
        path.unlink(missing_ok=True)


def _by_ffmpeg(folder: Path) -> None:
    for index, (muxer, shapes, options) in enumerate(_BY_FFMPEG):
        for rate, channels in shapes:
            source = _wave(folder, rate, channels)
            name = f"{_container(muxer)}~ffmpeg{index:02d}_{options.split()[1]}~{rate}~{channels}"
            _run_ffmpeg(["-i", str(source)], [*options.split(), "-f", _muxer(muxer)], folder, name)
    first, second = _wave(folder, 48_000, 1), _wave(folder, 48_000, 2)
    for muxer, options in _TWO_TRACKS:
        inputs = ["-i", str(first), "-i", str(second), "-map", "0", "-map", "1"]
        name = f"{_container(muxer)}~two_tracks~48000~2"
        _run_ffmpeg(inputs, [*options.split(), "-f", _muxer(muxer)], folder, name)
    for path in folder.glob("*.wav"):
        path.unlink()


def _container(muxer: str) -> str:
    same = {"m4a": "mp4", "mov": "mp4", "3gp": "mp4", "mka": "mkv", "webm": "mkv", "opus": "ogg"}
    return same.get(muxer, "ogg" if muxer == "spx" else muxer)


def _muxer(name: str) -> str:
    muxers = {"m4a": "ipod", "mka": "matroska", "wma": "asf", "spx": "ogg", "opus": "opus"}
    return muxers.get(name, name)


def _wave(folder: Path, rate: int, channels: int) -> Path:
    path = folder / f"source_{rate}_{channels}.wav"
    if not path.exists():
        soundfile.write(path, sound(rate, channels), rate, subtype="PCM_24")
    return path


def _run_ffmpeg(inputs: list[str], output: list[str], folder: Path, name: str) -> None:
    path = folder / f"{name}.bin"
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *inputs, *output, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not path.stat().st_size:
        path.unlink(missing_ok=True)  # this ffmpeg does not write it
