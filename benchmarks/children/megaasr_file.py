"""Load a model with megaasr and transcribe one file: MODEL DEVICE FILE [AUDIO_SECONDS]."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.children import answer

if TYPE_CHECKING:
    from megaasr import Segment


class _Progress:
    """Says on stderr, every 10 s, how far a long recording is."""

    def __init__(self, total_s: float) -> None:
        self._total_s = total_s
        self._said = time.monotonic()

    def __call__(self, _: str, segment: Segment) -> None:
        if time.monotonic() - self._said > 10:
            self._said = time.monotonic()
            print(f"  {segment.end / 60:.0f} of {self._total_s / 60:.0f} min", file=sys.stderr)


def main(model: str, device: str, file: str, total_s: str = "0") -> None:
    """Transcribe as a short script would, and say how long it took."""
    start = time.perf_counter()
    from megaasr import MegaASR

    asr = MegaASR.load(model, device=device, offline=True)
    loaded = time.perf_counter()
    transcript = asr.transcribe(file, on_segment=_Progress(float(total_s)))
    answer(
        load_s=loaded - start,
        transcribe_s=time.perf_counter() - loaded,
        audio_s=transcript.duration_s,
        segments=len(transcript.segments),
        text_bytes=len(json.dumps(transcript.to_json(), ensure_ascii=False).encode()),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
