"""Read, resample and write recordings.

libsndfile decodes the formats that it supports and ffmpeg all others; the content of a file
decides, not its suffix. soxr (quality HQ) resamples: from 48 to 16 kHz, the response is flat to
0.1 dB up to 7 kHz and below -130 dB from 8.05 kHz on.
"""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from megaasr.atomic import atomic_file
from megaasr.audio import ffmpeg, sndfile
from megaasr.audio.decoding import decode, resampled_chunks
from megaasr.audio.division import divide
from megaasr.audio.downmix import Downmix
from megaasr.audio.notes import AudioNotes
from megaasr.audio.pcm import CHUNK_VALUES
from megaasr.audio.scale import FloatLevels
from megaasr.audio.selection import EVERYTHING, ChannelChoice, Selection
from megaasr.audio.source import AudioSource, open_source
from megaasr.audio.waveform import (
    MAX_SAMPLE_RATE,
    MIN_SAMPLE_RATE,
    SAMPLE_RATE,
    AudioWarning,
    Samples,
    Waveform,
    require_finite,
    require_mono_float32,
)
from megaasr.errors import AudioEmptyError, AudioError, UsageError

_MAX_ARRAY_CHANNELS = 64
_BITS = {"PCM_16": 16, "PCM_24": 24}
_FORMATS = {".wav": "WAV", ".flac": "FLAC"}


def read(
    source: AudioSource,
    *,
    sample_rate: int = SAMPLE_RATE,
    selection: Selection = EVERYTHING,
) -> Waveform:
    """Decode a whole recording to mono at `sample_rate`.

    Args:
        source: a path, the bytes of a file, or a binary stream (read to its end).
        sample_rate: sample rate of the result in Hz, 4000 to 192000.
        selection: audio track and channels.

    Returns:
        The mix of all channels, or one of them. Full scale is ±1; float files may exceed it.

    Raises:
        AudioNotFoundError, AudioEmptyError, AudioFormatError, DecoderMissingError, AudioError:
            see `megaasr.errors`; the message names the file and the remedy.
        UsageError: `source` or `sample_rate` cannot be used.

    Warns:
        AudioTruncatedWarning: the file is cut off or damaged, and only a part was decoded.
        AudioWarning: several tracks, channels that cancel each other, samples in another scale.
    """
    parts = list(blocks(source, sample_rate=sample_rate, selection=selection))
    return Waveform(np.concatenate(parts), int(sample_rate))


def blocks(
    source: AudioSource,
    *,
    sample_rate: int = SAMPLE_RATE,
    block_s: float = 30.0,
    selection: Selection = EVERYTHING,
    notes: AudioNotes | None = None,
) -> Iterator[Samples]:
    """Decode a recording block by block, in memory that does not grow with its length.

    The concatenated blocks are exactly what `read` returns, whatever `block_s` is. Close or
    exhaust the iterator to close the file. The first step raises the same errors as `read`.

    Args:
        source: a path, the bytes of a file, or a binary stream (read to its end).
        sample_rate: sample rate of the result in Hz, 4000 to 192000.
        block_s: length of a block in seconds, above 0; the last block may be shorter.
        selection: audio track and channels.
        notes: receives what was unusual about the recording.

    Yields:
        New float32 arrays of shape [time], never empty.
    """
    rate = _checked_rate("sample_rate", sample_rate)
    if not 0 < block_s < float("inf"):
        raise UsageError(f"block_s must be above 0 seconds and finite, got {block_s}")
    return decode(
        source,
        AudioNotes("") if notes is None else notes,
        sample_rate=rate,
        block_size=max(1, round(block_s * rate)),
        selection=selection,
    )


def duration_s(source: AudioSource) -> float | None:
    """Return the length in seconds that the file states, without decoding it.

    None if the file does not state a reliable length (an MP3 without a length tag, a stream from
    a pipe), if only ffmpeg could read it and is missing, and for a stream that is not seekable.
    The position of a stream is restored.

    Raises:
        AudioNotFoundError, AudioEmptyError, AudioFormatError, AudioError: as `read` does, for
            problems that opening the file reveals.
    """
    if not isinstance(source, str | os.PathLike | bytes | bytearray | memoryview):
        if not getattr(source, "seekable", lambda: False)():
            return None
        position = source.tell()
        try:
            return _stated_duration(source)
        finally:
            source.seek(position)
    return _stated_duration(source)


def resample(samples: Samples, from_rate: int, to_rate: int) -> Samples:
    """Resample audio from one sample rate to another, as `read` does.

    Args:
        samples: float32 array [time] of finite numbers, at least one.
        from_rate: sample rate of `samples` in Hz, 4000 to 192000.
        to_rate: sample rate of the result in Hz, 4000 to 192000.

    Returns:
        A new float32 array with about `len(samples) * to_rate / from_rate` samples, at least one.

    Raises:
        UsageError: `samples` is not a float32 array [time], or a rate is out of range.
        AudioEmptyError: there are no samples.
        AudioFormatError: a sample is NaN or infinite.
    """
    require_mono_float32(samples)
    from_rate = _checked_rate("from_rate", from_rate)
    to_rate = _checked_rate("to_rate", to_rate)
    if not samples.size:
        raise AudioEmptyError("<array>", "no samples to resample")
    require_finite(samples, from_rate, "<array>")
    chunks = (
        samples[start : start + CHUNK_VALUES] for start in range(0, samples.size, CHUNK_VALUES)
    )
    return np.concatenate(list(resampled_chunks(chunks, from_rate, to_rate)))


def from_array(
    array: NDArray[Any],
    sample_rate: int,
    *,
    to_rate: int | None = None,
    channels: ChannelChoice = "mix",
) -> Waveform:
    """Make a waveform from samples in memory.

    Args:
        array: samples [time] or [time, channels], not [channels, time]; channels are averaged.
            Floats are used as they are (integers of 16, 24 or 32 bits that were stored as floats
            are scaled); int16, int32 and uint8 (128 is silence) are scaled to ±1.
        sample_rate: sample rate of `array` in Hz, 4000 to 192000.
        to_rate: sample rate of the result in Hz (the models need `SAMPLE_RATE`); None does not
            resample.
        channels: `mix`, `left`, `right`, or the number of a channel from 1 on.

    Raises:
        UsageError: unsupported type, shape or rate, or more than 64 channels (probably
            transposed).
        AudioEmptyError: there are no samples.
        AudioFormatError: a sample is NaN or infinite.
    """
    rate = _checked_rate("sample_rate", sample_rate)
    frames = unit_scale(np.asarray(array))
    if frames.ndim == 1:
        frames = frames[:, np.newaxis]
    if frames.ndim != 2:
        raise UsageError(f"array must be [time] or [time, channels], got {list(frames.shape)}")
    if frames.shape[1] > _MAX_ARRAY_CHANNELS:
        raise UsageError(
            f"array {list(frames.shape)} would have {frames.shape[1]} channels; it must be "
            "[time, channels], so transpose it"
        )
    if not frames.size:
        raise AudioEmptyError("<array>", "no samples")
    for channel in frames.T:
        require_finite(channel, rate, "<array>")
    if np.issubdtype(frames.dtype, np.floating):
        frames = _rescaled(frames)
    mixed = Downmix(frames.shape[1], (), channels, "<array>")(frames)
    samples = mixed.astype(np.float32)
    if to_rate is None:
        return Waveform(samples, rate)
    return Waveform(resample(samples, rate, to_rate), int(to_rate))


def unit_scale(array: NDArray[Any]) -> NDArray[Any]:
    """Return samples whose full scale is ±1, of any shape; floats as they are.

    Args:
        array: float, int16, int32 or uint8 (128 is silence).

    Raises:
        UsageError: unsupported type.
    """
    if array.dtype == np.int16:
        return array.astype(np.float32) / np.float32(2**15)
    if array.dtype == np.int32:
        return array / 2.0**31
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - 128) / np.float32(128)
    if np.issubdtype(array.dtype, np.floating):
        return array
    raise UsageError(f"array must be float, int16, int32 or uint8, got {array.dtype}")


def write(
    path: str | os.PathLike[str],
    waveform: Waveform,
    *,
    subtype: Literal["PCM_16", "PCM_24"] = "PCM_16",
) -> None:
    """Write a WAV or FLAC file; the same samples give the same bytes.

    Samples are rounded to the nearest integer level and clipped at full scale. The file appears
    under its name only when it is complete, so that a crash never leaves part of it there.

    Args:
        path: path of the file; its suffix, .wav or .flac, decides the format. An existing file is
            replaced. The folder must exist.
        waveform: audio to write, at its own sample rate.
        subtype: `PCM_16` or `PCM_24`, for 16 or 24 bits per sample.

    Raises:
        UsageError: unsupported suffix or subtype.
        AudioError: the folder does not exist, or the system refuses the write.
    """
    target = Path(path)
    file_format = _FORMATS.get(target.suffix.lower())
    if file_format is None:
        raise UsageError(
            f"{target}: can write .wav and .flac, not {target.suffix or 'no suffix'!r}"
        )
    if subtype not in _BITS:
        raise UsageError(f"subtype must be one of {', '.join(_BITS)}, got {subtype!r}")
    levels = _quantised(waveform.samples, _BITS[subtype])
    try:
        # Not flushed to the disk: corpora have many clips, and a lost one is made again.
        with atomic_file(target, durable=False) as file:
            soundfile.write(file, levels, waveform.sample_rate, subtype, format=file_format)
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioError(target, _write_problem(target, error)) from error


def _quantised(samples: Samples, bits: int) -> NDArray[np.int16] | NDArray[np.int32]:
    """Scale by the inverse of what `read` does; libsndfile's own scaling of floats is not that."""
    full = 2.0 ** (bits - 1)
    levels = np.clip(np.rint(samples.astype(np.float64) * full), -full, full - 1)
    if bits == 16:
        return levels.astype(np.int16)
    return levels.astype(np.int32) << (32 - bits)


def _write_problem(target: Path, error: Exception) -> str:
    if not target.parent.is_dir():
        return f"the folder {target.parent} does not exist; create it first"
    if target.is_dir():
        return "a folder of this name exists; choose another name"
    reason = getattr(error, "strerror", None) or error
    return f"cannot be written: {reason}; check the rights and the free space of the folder"


def _rescaled(frames: NDArray[Any]) -> NDArray[Any]:
    """Scale floats that are integers of 16, 24 or 32 bits to ±1."""
    levels = FloatLevels()
    levels.add(frames)
    peak, scale = levels.peak, levels.full_scale
    if scale == 1:
        return frames
    warnings.warn(
        f"<array>: its float samples reach {peak:.0f} where ±1 is full scale; they are taken for "
        f"integers and divided by {scale:.0f}",
        AudioWarning,
        stacklevel=3,
    )
    return frames / scale


def _checked_rate(name: str, rate: int) -> int:
    try:
        value = operator.index(rate)  # numpy's integers too
    except TypeError:
        value = -1
    if not MIN_SAMPLE_RATE <= value <= MAX_SAMPLE_RATE:
        limits = f"{MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz"
        raise UsageError(f"{name} must be a whole number from {limits}, got {rate!r}")
    return value


def _stated_duration(source: AudioSource) -> float | None:
    with open_source(source) as opened:
        parts = divide(opened)
        if parts[0].multiplexed:
            return None
        try:
            durations = [sndfile.duration_s(part) for part in parts]
        except sndfile.NotDecodableError:
            return ffmpeg.duration_s(opened) if len(parts) == 1 else None
        stated = [duration for duration in durations if duration is not None]
        return sum(stated) if len(stated) == len(parts) else None
