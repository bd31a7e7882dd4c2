"""Decode files that are named on standard input, by megaasr or by hand: megaasr|hand.

Answers each line with a JSON line: wall and CPU time, with that of child processes, and length.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

RATE = 16_000
_LIBSNDFILE = (".wav", ".flac", ".mp3", ".opus", ".ogg")


def by_megaasr() -> Callable[[str], Any]:
    """Return `megaasr.audio.read`, of whatever version is on the path."""
    from megaasr.audio import read

    return lambda file: read(file).samples


def by_hand() -> Callable[[str], Any]:
    """Return a reader by libsndfile or ffmpeg, the mean of the channels, and soxr."""
    import numpy as np
    import soundfile
    import soxr

    def read(file: str) -> Any:
        if file.endswith(_LIBSNDFILE):
            samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
        else:
            command = ["ffmpeg", "-nostdin", "-v", "quiet", "-i", file, "-map", "0:a:0"]
            command += ["-c:a", "pcm_f32be", "-f", "au", "-"]
            data = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
            rate, channels = (int.from_bytes(data[start : start + 4], "big") for start in (16, 20))
            offset = int.from_bytes(data[4:8], "big")
            samples = np.frombuffer(data, ">f4", offset=offset).astype(np.float32)
            samples = samples.reshape(-1, channels)
        return soxr.resample(samples.mean(axis=1), rate, RATE, quality="HQ")

    return read


def _cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main(name: str) -> None:
    """Serve the files that the parent names."""
    read = by_megaasr() if name == "megaasr" else by_hand()
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        file = json.loads(line)
        cpu_start, start = _cpu_s(), time.perf_counter()
        samples = len(read(file))
        wall_s, cpu_s = time.perf_counter() - start, _cpu_s() - cpu_start
        # No JSON: earlier versions of the package have no writer of strict JSON.
        print(wall_s, cpu_s, samples, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
