"""A child process of the audio fuzzer: decodes inputs and compares them with ffmpeg.

Reads JSON lines `{"index": …}` from standard input, and answers each with a JSON line.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from audio_bases import LENGTH_S, PEAK, Base, make_bases
from audio_mutations import mutated

from megaasr.audio import blocks
from megaasr.audio.notes import AudioNotes
from megaasr.errors import MegaASRError

RATE = 16_000
TOLERANCE_S = 0.05
WHOLE_TOLERANCE_S = 0.2  # encoders add and remove up to some frames
BURST = 100.0  # times the peak of the sound that was encoded
_LOSSLESS = frozenset(("untouched", "zeros_after", "tag_before", "tag_after"))
_LONGER = frozenset(("repeat_inside", "exchange_header", "wrong_length"))
_DAMAGED = frozenset(
    (
        *("flip_byte", "flip_bits", "zeros_inside", "rubbish_inside", "insert_zeros"),
        *("insert_rubbish", "exchange_inside", "zeros_before", "rubbish_before", "rubbish_after"),
    )
)


def decoded(path: Path) -> dict[str, Any]:
    """Return what `megaasr.audio` makes of a file."""
    notes = AudioNotes("")
    start = time.perf_counter()
    result: dict[str, Any] = {"error": "", "crash": ""}
    parts: list[Any] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parts = list(blocks(path, notes=notes))
    except MegaASRError as error:
        result["error"] = f"{type(error).__name__}: {str(error).replace(str(path), 'FILE')}"
    except Exception:  # what the fuzzer looks for
        result["crash"] = traceback.format_exc()
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    result["length_s"] = len(samples) / RATE
    result["peak"] = float(np.abs(samples).max(initial=0.0))
    result["finite"] = bool(np.isfinite(samples).all())
    result["notes"] = [[note.kind, note.message, note.at_s] for note in notes]
    result["flags"] = sorted({note.flag for note in notes if note.flag})
    result["wall_s"] = round(time.perf_counter() - start, 3)
    return result


def by_ffmpeg(path: Path) -> float:
    """Return how many seconds of its first audio track plain ffmpeg decodes."""
    command = ["ffmpeg", "-nostdin", "-v", "quiet", "-i", str(path), "-map", "0:a:0"]
    command += ["-c:a", "pcm_f32be", "-f", "au", "-"]
    try:
        output = subprocess.run(command, capture_output=True, check=False, timeout=20).stdout
    except subprocess.TimeoutExpired:
        return 0.0
    if len(output) < 24:
        return 0.0
    _, offset, _, _, rate, channels = struct.unpack(">4sIIIII", output[:24])
    return (len(output) - offset) / 4 / channels / rate if rate and channels else 0.0


class Checker:
    """Decodes inputs with both decoders, and judges the results.

    Args:
        folder: for the input that is decoded.
        seed: decides the inputs.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.bases = make_bases(folder / "bases")
        self._seed = seed
        self._folder = folder
        self._path = folder / f"input_{os.getpid()}"

    def check(self, index: int) -> dict[str, Any]:
        """Decode one input with both, and return the result."""
        base, mutation, data = mutated(self.bases, self._seed, index)
        comparable = self._ffmpeg_knows(base)
        self._path.write_bytes(data)
        ours = decoded(self._path)
        # What is flagged may be shorter.
        ffmpeg_s = by_ffmpeg(self._path) if comparable and not ours["flags"] else 0.0
        return {
            "index": index,
            "base": base.name,
            "container": base.container,
            "mutation": mutation,
            "bytes": len(data),
            "outcome": outcome(base, mutation, ours, ffmpeg_s, len(data)),
            "ffmpeg_s": round(ffmpeg_s, 3),
            **ours,
        }

    def _ffmpeg_knows(self, base: Base) -> bool:
        """Return whether ffmpeg decodes the whole recording rightly; others it takes for MPEG."""
        mark = self._folder / "bases" / f"{base.name}.known"
        if not mark.exists():
            self._path.write_bytes(base.data)
            off_s = abs(by_ffmpeg(self._path) - base.length_s)
            mark.write_text("yes" if off_s < WHOLE_TOLERANCE_S else "no")
        return mark.read_text() == "yes"


def joined_s(base: Base, mutation: str, size: int) -> float:
    """Return the length of all sound of joined files; 0 for other mutations."""
    if mutation == "join_itself":
        return base.length_s * (size // len(base.data))
    return base.length_s + LENGTH_S if mutation.startswith("join_") else 0.0


def outcome(base: Base, mutation: str, ours: dict[str, Any], ffmpeg_s: float, size: int) -> str:
    """Return what is wrong with a result, or a word for how it is right.

    Wrong are: `crash`, `not_finite`, `lost` (less sound than ffmpeg's, and no flag), `false_flag`
    (on a whole file), `refused_whole`, `short` (of a whole file), `burst` (a hundred times as loud
    as what was encoded, and no flag). Remarkable, though ffmpeg does no better: `join_lost` and
    `damage_unseen` (less than was encoded, and no flag).
    """
    if ours["crash"]:
        return "crash"
    if ours["error"]:
        return "refused_whole" if mutation == "untouched" else "refused"
    length_s, flagged = ours["length_s"], bool(ours["flags"])
    all_s = joined_s(base, mutation, size)
    short = length_s < base.length_s - WHOLE_TOLERANCE_S
    # ffmpeg keeps the encoder's padding where the length tag is lost.
    encoded_s = all_s or (ffmpeg_s if mutation in _LONGER else base.length_s)
    lost = length_s < min(ffmpeg_s, encoded_s) - TOLERANCE_S
    faults = {
        "not_finite": not ours["finite"],
        "false_flag": flagged and mutation == "untouched",
        "lost": lost and not flagged,
        "short": short and mutation in _LOSSLESS and not flagged,
        "flagged": flagged,
        "burst": ours["peak"] > BURST * PEAK,
        "join_lost": length_s < all_s - WHOLE_TOLERANCE_S,
        "damage_unseen": short and mutation in _DAMAGED,
        "equal": abs(length_s - ffmpeg_s) <= TOLERANCE_S,
    }
    return next((name for name, holds in faults.items() if holds), "longer")


WRONG = frozenset(
    (
        "crash",
        "not_finite",
        "lost",
        "false_flag",
        "refused_whole",
        "short",
        "burst",
        "hang",
        "died",
        "printed",
    )
)


def main() -> None:
    """Serve the inputs that the parent asks for."""
    seed, folder = int(sys.argv[1]), Path(sys.argv[2])
    with (
        os.fdopen(os.dup(1), "w") as answers,
        (folder / f"printed_{os.getpid()}").open("w+b", buffering=0) as printed,
    ):
        os.dup2(printed.fileno(), 1)  # C libraries write there, which would spoil transcripts
        checker = Checker(folder, seed)
        print(json.dumps({"ready": len(checker.bases)}), file=answers, flush=True)
        for line in sys.stdin:
            result = checker.check(json.loads(line)["index"])
            ctypes.CDLL(None).fflush(None)
            if text := os.pread(printed.fileno(), 1_000, 0):
                result |= {"outcome": "printed", "printed": text.decode("latin-1")}
                os.ftruncate(printed.fileno(), 0)
                os.lseek(printed.fileno(), 0, os.SEEK_SET)
            print(json.dumps(result), file=answers, flush=True)


if __name__ == "__main__":
    main()
