"""Decode one file block by block with megaasr: FILE."""

from __future__ import annotations

import sys
import time

from benchmarks.children import report


def main(file: str) -> None:
    """Decode all of a file, keeping nothing."""
    from megaasr.audio import SAMPLE_RATE, blocks

    start = time.perf_counter()
    samples = sum(len(block) for block in blocks(file))
    report(decode_s=time.perf_counter() - start, audio_s=samples / SAMPLE_RATE)


if __name__ == "__main__":
    main(*sys.argv[1:])
