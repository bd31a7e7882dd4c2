"""Time of `megaasr.audio.read` against an earlier version and against plain decoders.

    python -m benchmarks.decoding --against be6b325

All read the same files in turn, each in a process of its own that stays; the earlier version is
exported with `git archive`. Ratios are those of medians: 1.05 is 5 % slower than the other. The CPU
time includes that of ffmpeg and ffprobe, and depends less on what else the machine does.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import ROOT, BenchmarkError
from benchmarks.clips import joined
from benchmarks.timing import Runs, say
from megaasr import strict_json

SHORT_S, LONG_S = 5.0, 1800.0
_FILES: Mapping[str, tuple[str, str]] = {  # suffix, options of ffmpeg
    "WAV, 16-bit": ("wav", "-c:a pcm_s16le"),
    "WAV, float": ("wav", "-c:a pcm_f32le"),
    "WAV, stereo 48 kHz": ("wav", "-c:a pcm_s16le -ar 48000 -ac 2"),
    "FLAC": ("flac", "-c:a flac"),
    "MP3, CBR": ("mp3", "-c:a libmp3lame -b:a 64k -ar 44100"),
    "MP3, VBR": ("mp3", "-c:a libmp3lame -q:a 4 -ar 44100"),
    "Ogg Opus": ("opus", "-c:a libopus -ar 48000"),
    "M4A": ("m4a", "-c:a aac -ar 44100"),
    "MKV, many packets": ("mka", "-c:a libopus -frame_duration 5 -ar 48000"),
}


@dataclass(frozen=True, slots=True)
class Reader:
    """A child process that decodes files on request."""

    process: subprocess.Popen[str]

    def read(self, file: Path) -> dict[str, float]:
        """Decode a file, and return how long it took.

        Raises:
            BenchmarkError: the child failed.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(strict_json.dumps(str(file)) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise BenchmarkError(f"a reader ended at {file.name}")
        values = map(float, line.split())
        return dict(zip(("wall_s", "cpu_s", "samples"), values, strict=True))


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", default="be6b325", help="commit of the earlier version")
    parser.add_argument("--repeats", type=int, default=7, help="runs of each short file")
    parser.add_argument("--long-repeats", type=int, default=3, help="runs of each long file")
    parser.add_argument("--only", help="part of the name of the files to read")
    parser.add_argument("--length-s", type=float, help="instead of 5 and 1800 s")
    parser.add_argument("--output", type=Path, help="JSON file with all runs")
    options = parser.parse_args()
    rows = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        readers = _readers(stack, folder, options.against)
        for length_s in [options.length_s] if options.length_s else [SHORT_S, LONG_S]:
            repeats = options.repeats if length_s < 60 else options.long_repeats
            for name, file in _written(folder, length_s, options.only or ""):
                say(f"decoding: {name}, {length_s:g} s")
                runs = _in_turn(readers, file, repeats)
                rows.append({"file": name, "length_s": length_s, **_row(runs)})
                print(_line(rows[-1]), flush=True)
    if options.output is not None:
        options.output.write_text(strict_json.dumps(rows, indent=1) + "\n")
    return 0


def _readers(stack: ExitStack, folder: Path, commit: str) -> dict[str, Reader]:
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit], stdout=subprocess.PIPE, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder / "before", filter="data")
    program = str(ROOT / "benchmarks" / "children" / "decode_files.py")
    readers = {}
    for name, source, kind in (
        ("now", ROOT / "src", "megaasr"),
        ("before", folder / "before" / "src", "megaasr"),
        ("by hand", ROOT / "src", "hand"),
    ):
        process = subprocess.Popen(
            [sys.executable, program, kind],
            env={**os.environ, "PYTHONPATH": str(source)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        stack.callback(process.communicate)  # closes its input, upon which it ends
        readers[name] = Reader(process)
    return readers


def _written(folder: Path, length_s: float, only: str) -> list[tuple[str, Path]]:
    import soundfile

    source = folder / f"source_{length_s:g}.wav"
    soundfile.write(source, joined(length_s, 1)[0], 16_000)
    files = []
    for index, (name, (suffix, options)) in enumerate(_FILES.items()):
        if only not in name:
            continue
        path = folder / f"{index}_{length_s:g}.{suffix}"
        command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(source), *options.split()]
        subprocess.run([*command, str(path)], check=True)
        files.append((name, path))
    return files


def _in_turn(readers: Mapping[str, Reader], file: Path, repeats: int) -> dict[str, Runs]:
    times: dict[str, list[dict[str, float]]] = {name: [] for name in readers}
    for reader in readers.values():
        reader.read(file)  # warm up
    for _ in range(repeats):
        for name, reader in readers.items():
            times[name].append(reader.read(file))
    return {
        name: Runs([run["wall_s"] for run in runs], [run["cpu_s"] for run in runs])
        for name, runs in times.items()
    }


def _row(runs: Mapping[str, Runs]) -> dict[str, Any]:
    now = runs["now"]
    row: dict[str, Any] = {name: peer.fields() for name, peer in runs.items()}
    for name in ("before", "by hand"):
        row[f"wall_to_{name}"] = round(now.wall / runs[name].wall, 3)
        row[f"cpu_to_{name}"] = round(now.cpu / max(1e-9, runs[name].cpu), 3)
    return row


def _line(row: Mapping[str, Any]) -> str:
    now = row["now"]
    return (
        f"{row['file']:20} {row['length_s']:6g} s: {1000 * now['wall_s']:8.1f} ms, CPU "
        f"{1000 * now['cpu_s']:8.1f} ms; to before {row['wall_to_before']:.2f}, CPU "
        f"{row['cpu_to_before']:.2f}; to by hand {row['wall_to_by hand']:.2f}, CPU "
        f"{row['cpu_to_by hand']:.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
