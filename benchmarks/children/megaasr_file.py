"""Load a model with megaasr and transcribe one file: MODEL DEVICE FILE [AUDIO_SECONDS]."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from benchmarks.children import report
from megaasr import strict_json

if TYPE_CHECKING:
    from megaasr import Segment


class _Progress:
    """Reports the progress of a long recording on stderr, every 10 s."""

    def __init__(self, total_s: float) -> None:
        self._total_s = total_s
        self._last_message = time.monotonic()

    def __call__(self, _: str, segment: Segment) -> None:
        if time.monotonic() - self._last_message > 10:
            self._last_message = time.monotonic()
            print(f"  {segment.end / 60:.0f} of {self._total_s / 60:.0f} min", file=sys.stderr)


def main(model: str, device: str, file: str, total_s: str = "0") -> None:
    """Transcribe as a short script would, and report the time it takes."""
    start = time.perf_counter()
    from megaasr import MegaASR

    asr = MegaASR.load(model, device=device, offline=True)
    loaded = time.perf_counter()
    transcript = asr.transcribe(file, on_segment=_Progress(float(total_s)))
    report(
        load_s=loaded - start,
        transcribe_s=time.perf_counter() - loaded,
        audio_s=transcript.duration_s,
        segments=len(transcript.segments),
        text_bytes=len(strict_json.dumps(transcript.to_dict(), ensure_ascii=False).encode()),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
