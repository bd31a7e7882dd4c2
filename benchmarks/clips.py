"""The input: the package's demo clips, concatenated to any length, the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from itertools import count
from pathlib import Path

import numpy as np
import soundfile
import soxr

from benchmarks import BenchmarkError
from megaasr.audio.waveform import Samples

RATE = 16_000
STEREO_RATE = 48_000
_PAUSE_S = 0.6
_ECHO_S = 0.02


def demo_clips() -> list[Samples]:
    """Read the shipped clips, in the order of their names.

    Raises:
        BenchmarkError: if there are none.
    """
    folder = Path(str(resources.files("megaasr.cli") / "demo_clips"))
    files = sorted(folder.glob("*.flac"))
    if not files:
        raise BenchmarkError(f"no demo clips in {folder}")
    return [soundfile.read(file, dtype="float32")[0] for file in files]


def joined(length_s: float, number: int) -> list[Samples]:
    """Return clips of exactly one length, each starting with another demo clip.

    There are 14 demo clips; from the 15th clip on, they are joined in another order.

    Args:
        length_s: length of each clip in seconds.
        number: number of clips.

    Returns:
        float32 arrays of shape [time], 16 kHz mono.
    """
    demos = demo_clips()
    size = round(length_s * RATE)
    clips = []
    for index in range(number):
        step = 1 + 2 * (index // len(demos))
        parts: list[Samples] = []
        for position in count(index, step):
            parts.append(_with_pause(demos[position % len(demos)]))
            if sum(map(len, parts)) >= size:
                break
        clips.append(np.concatenate(parts)[:size])
    return clips


def write_speech(path: Path, length_s: float) -> None:
    """Write a 16 kHz mono file: all demo clips with pauses, repeated."""
    tape = np.concatenate([_with_pause(clip) for clip in demo_clips()])
    _write(path, tape[:, np.newaxis], RATE, length_s)


def write_stereo(path: Path, length_s: float) -> None:
    """Write a 48 kHz stereo file of the same speech, quieter and delayed on the right."""
    tape = np.concatenate([_with_pause(clip) for clip in demo_clips()])
    left = soxr.resample(tape, RATE, STEREO_RATE)
    right = 0.6 * np.roll(left, round(_ECHO_S * STEREO_RATE))
    _write(path, np.stack([left, right], axis=1), STEREO_RATE, length_s)


def _write(path: Path, tape: Samples, rate: int, length_s: float) -> None:
    """Repeat samples of shape [time, channels] into a file, holding them in memory only once."""
    file_format = path.suffix[1:].upper()
    with soundfile.SoundFile(path, "w", rate, tape.shape[1], format=file_format) as file:
        for block in _tiled(tape, round(length_s * rate)):
            file.write(block)


def _tiled(tape: Samples, frames: int) -> Iterator[Samples]:
    # Small blocks: libsndfile's Vorbis encoder overflows its stack on large ones.
    size = 48_000
    while frames > 0:
        for start in range(0, min(len(tape), frames), size):
            yield tape[start : min(start + size, frames)]
        frames -= len(tape)


def _with_pause(clip: Samples) -> Samples:
    return np.concatenate([clip, np.zeros(round(_PAUSE_S * RATE), np.float32)])
