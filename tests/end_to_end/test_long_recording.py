"""Recordings of several hours with tiny: bounded memory, and no sentence in the noise is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from megaasr.audio import files

RATE = 16_000
CLIPS = sorted((Path(files.__file__).parents[1] / "cli" / "demo_clips").glob("*-clean.flac"))
_CHILD = """
import sys
from megaasr import MegaASR
transcript = MegaASR.load("tiny").transcribe(sys.argv[1])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
spoken = [segment for segment in transcript.segments if segment.text]
print(int(peak.split()[1]) // 1024, round(transcript.duration_s), len(spoken))
"""


def sparse_speech(path: Path, hours: float, every_s: float = 300.0) -> int:
    """Write faint noise with a sentence every few minutes; return the number of sentences."""
    rng = np.random.default_rng(1)
    clips = [files.read(clip, sample_rate=RATE).samples for clip in CLIPS]
    block = round(every_s * RATE)
    count = round(hours * 3600 / every_s)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for number in range(count):
            sound = 0.002 * rng.standard_normal(block).astype(np.float32)
            clip = clips[number % len(clips)]
            start = round(rng.uniform(10, every_s - 30) * RATE)
            sound[start : start + len(clip)] += clip
            file.write(sound)
    return count


def transcribe(path: Path) -> tuple[int, int, int]:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(path)], capture_output=True, text=True, check=True
    )
    megabytes, duration_s, spoken = map(int, done.stdout.split())
    return megabytes, duration_s, spoken


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_ten_hours_take_no_more_memory_than_three(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    # In the first hours, pending chunks accumulate until they are sorted by length and decoded.
    sentences = sparse_speech(path, 3.0)
    short_mb, duration_s, spoken = transcribe(path)
    assert (duration_s, spoken) == (10_800, sentences)
    sentences = sparse_speech(path, 10.0)
    long_mb, duration_s, spoken = transcribe(path)
    path.unlink()
    assert (duration_s, spoken) == (36_000, sentences)
    assert long_mb - short_mb < 64
