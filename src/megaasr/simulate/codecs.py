"""Speech codecs: G.711 by our own code, the others by the encoders of the program `ffmpeg`.

A clip is encoded and decoded at the sample rate of the codec. Every codec delays the sound by a
fixed time: its look-ahead, its filters, the frame that must be complete. That delay is cut off, so
that the speech keeps its times.
"""

from __future__ import annotations

import shutil
import subprocess
from functools import cache

import numpy as np

from megaasr.audio.files import resample
from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.errors import CodecError
from megaasr.simulate import g711
from megaasr.simulate.codec_ladder import CODECS, Codec

_OPUS_RATE = 48_000  # of every Opus decoder
_SPARE_S = 0.1  # appended before encoding, so that the last frame of the clip is complete


def available_codecs() -> tuple[str, ...]:
    """Return the names of the codecs that this machine can apply.

    Draws are not restricted to them unless asked to: `Simulator(codecs=available_codecs())`.
    """
    program = shutil.which("ffmpeg")
    encoders = _encoders(program) if program else frozenset()
    return tuple(codec.name for codec in CODECS.values() if codec.law or codec.encoder in encoders)


def encode_and_decode(codec: Codec, x: Samples) -> Samples:
    """Return a clip after encoding and decoding, float32 array of the same length.

    Args:
        codec: codec to use.
        x: float32 array [time] at 16 kHz, at least one sample; what exceeds ±1 is clipped.

    Raises:
        CodecError: ffmpeg or its encoder is missing, or it failed.
    """
    spare = np.zeros(round((_SPARE_S + codec.delay_ms / 1000) * SAMPLE_RATE), np.float32)
    low = _resampled(np.concatenate([x, spare]), SAMPLE_RATE, codec.sample_rate)
    pcm = np.asarray(np.clip(np.rint(low * 2.0**15), -(2**15), 2**15 - 1), "<i2")
    if codec.law:
        levels = g711.decode(g711.encode(pcm, codec.law), codec.law)
        decoded, rate = levels.astype(np.float32) / np.float32(2**15), codec.sample_rate
    else:
        decoded = _by_ffmpeg(codec, pcm.tobytes())
        rate = _OPUS_RATE if codec.encoder == "libopus" else codec.sample_rate
    y = _resampled(decoded, rate, SAMPLE_RATE)
    delay = round(codec.delay_ms * SAMPLE_RATE / 1000)
    y = y[delay : delay + len(x)]
    if len(y) < len(x):
        raise CodecError(
            f"codec {codec.name}: ffmpeg gave {len(y)} samples for {len(x)}; another version of "
            "ffmpeg may help"
        )
    return y


@cache
def ffmpeg_version() -> str:
    """Return the version of the program `ffmpeg`, which is run once per process; "" without it."""
    program = shutil.which("ffmpeg")
    if program is None:
        return ""
    first = _run([program, "-version"], b"", "ffmpeg").decode("utf-8", "replace").splitlines()[:1]
    return first[0].split()[2] if first and len(first[0].split()) > 2 else ""


def _by_ffmpeg(codec: Codec, pcm: bytes) -> Samples:
    program = shutil.which("ffmpeg")
    if program is None:
        raise CodecError(
            f"codec {codec.name}: needs the program ffmpeg, which is not on the PATH; install it, "
            "or draw among other codecs (codecs=, --codec): g711-mu-law and g711-a-law need none"
        )
    if codec.encoder not in _encoders(program):
        raise CodecError(
            f"codec {codec.name}: {program} has no encoder {codec.encoder}; install an ffmpeg that "
            f"has, or draw among other codecs (codecs=, --codec): {', '.join(available_codecs())}"
        )
    start = [program, "-hide_banner", "-loglevel", "error"]
    raw = ["-f", "s16le", "-ar", str(codec.sample_rate), "-ac", "1", "-i", "pipe:0"]
    bit_exact = ["-threads", "1", "-fflags", "+bitexact", "-flags:a", "+bitexact"]
    encoding = ["-c:a", codec.encoder, *codec.encoder_options, *bit_exact]
    encoded = _run([*start, *raw, *encoding, "-f", codec.container, "pipe:1"], pcm, codec.name)
    source = ["-f", codec.container, *codec.decoder_options, "-i", "pipe:0"]
    decoding = ["-c:a", "pcm_f32le", "-f", "f32le", "pipe:1"]
    decoded = _run([*start, *source, *decoding], encoded, codec.name)
    return np.frombuffer(decoded, "<f4").astype(np.float32)


def _run(command: list[str], data: bytes, label: str) -> bytes:
    try:
        result = subprocess.run(command, input=data, capture_output=True, check=False)
    except OSError as error:
        reason = error.strerror or error
        raise CodecError(f"codec {label}: {command[0]} cannot be started: {reason}") from error
    if result.returncode:
        complaint = result.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise CodecError(f"codec {label}: ffmpeg failed: {''.join(complaint) or 'no reason given'}")
    return result.stdout


@cache
def _encoders(program: str) -> frozenset[str]:
    """Return the names of ffmpeg's encoders; the program is asked once per process."""
    listed = _run([program, "-hide_banner", "-encoders"], b"", "ffmpeg")
    fields = [line.split() for line in listed.decode("utf-8", "replace").splitlines()]
    return frozenset(field[1] for field in fields if len(field) > 1 and field[0].startswith("A"))


def _resampled(samples: Samples, from_rate: int, to_rate: int) -> Samples:
    return samples if from_rate == to_rate else resample(samples, from_rate, to_rate)
