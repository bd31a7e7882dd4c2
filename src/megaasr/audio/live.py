"""Audio that is still coming through a pipe: raw samples, or any container that ffmpeg reads."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from megaasr.audio.ffmpeg import DEMUXERS, INSTALL, available
from megaasr.audio.pcm import Repair
from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.errors import AudioError, AudioFormatError, DecoderMissingError, UsageError

PCM_FORMATS = {"s16le": "<i2", "s16be": ">i2", "s32le": "<i4", "f32le": "<f4", "u8": "u1"}
"""Names, as ffmpeg has them, of the formats of raw samples."""
_READ_BYTES = 1 << 16


def read_pcm(file: IO[bytes], sample_format: str, channels: int = 1) -> Iterator[Samples]:
    """Yield raw samples as they come, the mean of all channels.

    Args:
        file: binary stream; what it has is read without waiting for more.
        sample_format: one of `PCM_FORMATS`.
        channels: number of interleaved channels, at least 1.

    Yields:
        float32 arrays of shape [time], not empty; samples that are no numbers are silence.

    Raises:
        UsageError: the format is unknown, or there are no channels.
        OSError: the stream cannot be read.
    """
    if sample_format not in PCM_FORMATS:
        raise UsageError(f"format {sample_format!r}: choose one of {', '.join(PCM_FORMATS)}")
    if channels < 1:
        raise UsageError(f"{channels} channels; at least 1 is needed")
    dtype = np.dtype(PCM_FORMATS[sample_format])
    frame_bytes = dtype.itemsize * channels
    repair, rest = Repair(1.0), b""
    while data := _read_available(file):
        data = rest + data
        count = len(data) // frame_bytes
        rest = data[count * frame_bytes :]
        if count:
            values = np.frombuffer(data, dtype, count * channels)
            frames = repair(_unit_scale(values).reshape(count, channels))
            yield frames.mean(axis=1, dtype=np.float32)


def read_container(file: IO[bytes], label: str) -> Iterator[Samples]:
    """Yield the first audio track of a stream in any format that ffmpeg reads, as it comes.

    Args:
        file: binary stream with a file descriptor.
        label: name of the stream in messages.

    Yields:
        float32 arrays of shape [time], 16 kHz mono, not empty.

    Raises:
        DecoderMissingError: ffmpeg is not installed.
        AudioError: ffmpeg cannot be started.
        AudioFormatError: the stream holds no sound that ffmpeg can decode.
    """
    if not available():
        raise DecoderMissingError(label, f"a live container needs ffmpeg; {INSTALL}")
    command = ["ffmpeg", "-hide_banner", "-v", "error", "-protocol_whitelist", "pipe"]
    # Little is probed, so that the first words come soon.
    command += ["-format_whitelist", DEMUXERS, "-probesize", "32768", "-i", "pipe:0"]
    command += ["-map", "0:a:0", "-ac", "1", "-ar", str(SAMPLE_RATE), "-f", "f32le", "pipe:1"]
    try:
        process = subprocess.Popen(  # no buffer, whose lock a thread may hold when Python ends
            command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
    except OSError as error:
        raise AudioError(label, f"ffmpeg cannot be started: {error.strerror}") from error
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        decoded = False
        try:
            for samples in read_pcm(process.stdout, "f32le"):
                decoded = True
                yield samples
            complaint = process.stderr.read().decode("utf-8", "replace").strip()
        finally:
            process.kill()  # no effect if it has ended
    if not decoded:
        reason = complaint.splitlines()[0] if complaint else "no samples"
        raise AudioFormatError(
            label,
            f"cannot be decoded (ffmpeg: {reason}); for raw samples, name their rate and format",
        )


def _read_available(file: IO[bytes]) -> bytes:
    """Return what a stream has, waiting only for the first byte; empty at its end."""
    reader: Any = getattr(file, "read1", file.read)
    data: bytes = reader(_READ_BYTES)
    return data


def _unit_scale(values: np.ndarray[Any, Any]) -> Samples:
    """Return samples of any of the formats as float32 whose full scale is ±1."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    if values.dtype.kind == "u":
        return (values.astype(np.float32) - 128) / np.float32(128)
    return (values / np.float64(2 ** (8 * values.dtype.itemsize - 1))).astype(np.float32)
