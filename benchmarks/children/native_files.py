"""The same with transformers' own classes, all files as one batch.

MODEL DEVICE MAX_NEW_TOKENS FILE [FILE ...]
"""

from __future__ import annotations

import sys
import time

from benchmarks.children import report


def main(model: str, device: str, max_new_tokens: str, *files: str) -> None:
    """Transcribe as a short script would, and report the time it takes."""
    start = time.perf_counter()
    import soundfile

    from benchmarks.native import Native

    native = Native.load(model, device)
    loaded = time.perf_counter()
    clips = [soundfile.read(file, dtype="float32")[0] for file in files]
    texts = native.transcribe(clips, int(max_new_tokens))
    report(
        load_s=loaded - start,
        transcribe_s=time.perf_counter() - loaded,
        audio_s=sum(len(clip) for clip in clips) / 16_000,
        segments=len(texts),
        text_bytes=sum(len(text.encode()) for text in texts),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
