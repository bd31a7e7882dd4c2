"""Reading a file as mono 16 kHz; peers: soundfile and soxr by hand, and librosa if installed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import Row, Settings, Table
from benchmarks.timing import in_turn, say

_SUFFIXES = ("wav", "flac", "ogg", "mp3")
_RATE = 16_000


def run(settings: Settings) -> tuple[Mapping[str, Any], list[Row]]:
    """Decode one file of each format with all of them, in turn."""
    import numpy as np
    from numpy.typing import NDArray

    from benchmarks.clips import write_stereo
    from megaasr.audio import read

    length_s, repeats = (10.0, 1) if settings.quick else (60.0, 5)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for suffix in _SUFFIXES:
            say(f"decode: {suffix}")
            file = Path(folder) / f"stereo.{suffix}"
            write_stereo(file, length_s)
            readers: dict[str, Callable[[], NDArray[np.float32]]] = {
                "soundfile + soxr": partial(_by_hand, file),
                "megaasr": lambda file=file: read(file).samples,  # type: ignore[misc]
            }
            if find_spec("librosa"):
                readers["librosa"] = partial(_by_librosa, file)
            runs = in_turn(readers, repeats)
            expected = _by_hand(file)
            for name, reader in readers.items():
                samples, peer = reader(), runs["soundfile + soxr"]
                common = min(len(samples), len(expected))
                off = float(np.abs(samples[:common] - expected[:common]).max())
                row = {
                    "format": suffix,
                    "reader": name,
                    **runs[name].fields(),
                    "times_peer_wall": round(peer.wall / runs[name].wall, 3),
                    "times_peer_cpu": round(peer.cpu / runs[name].cpu, 3),
                    "extra_samples": len(samples) - len(expected),
                    "largest_difference": off,
                }
                rows.append(row)
    return {"audio_s": length_s, "rate": 48_000, "channels": 2, "repeats": repeats}, rows


def _by_hand(file: Path) -> Any:
    import soundfile
    import soxr

    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    return soxr.resample(samples.mean(axis=1), rate, _RATE, quality="HQ")


def _by_librosa(file: Path) -> Any:
    import librosa  # type: ignore[import-not-found,unused-ignore]

    return librosa.load(file, sr=_RATE, mono=True)[0]


def table(entry: Mapping[str, Any]) -> Table:
    """One line for each format and reader."""
    used = entry["settings"]
    lines = [
        [
            f"{row['format']}, {row['reader']}",
            f"{1000 * row['wall_s']:.1f}",
            f"{1000 * row['cpu_s']:.1f}",
            f"{used['audio_s'] / row['wall_s']:.0f}",
            f"{row['times_peer_wall']:.2f}",
            f"{row['times_peer_cpu']:.2f}",
            f"{row['largest_difference']:.1e}",
            f"{row['extra_samples']:+d}",
        ]
        for row in entry["rows"]
    ]
    note = (
        f"{used['audio_s']:g} s of {used['rate'] // 1000} kHz stereo to 16 kHz mono; × peer: how "
        "many times as fast as `soundfile.read`, the mean of the channels and `soxr.resample` by "
        "hand (which believes what a file says about its length, and checks nothing); medians of "
        f"{used['repeats']} run(s) after a warm-up; difference: the largest between any sample "
        "and the peer's."
    )
    head = (
        "file",
        "wall ms",
        "CPU ms",
        "× real time",
        "× peer",
        "× peer, CPU",
        "difference",
        "extra samples",
    )
    return Table("decode: reading a file", note, head, lines)
