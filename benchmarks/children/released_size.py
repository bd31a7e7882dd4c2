"""Load a model, decode a chunk of 30 s, route it, find its speech: MODEL DEVICE TOKENS DTYPE."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.children import noise, report


def main(model: str, device: str, tokens: str, dtype: str) -> None:
    """Measure how long each part takes; the first run of a part does not count."""
    import torch

    from megaasr.hub import HubOptions
    from megaasr.model.cache_argument import cache_argument
    from megaasr.model.interface import Request
    from megaasr.model.loading import load_model
    from megaasr.model.reserved_cache import reserved_cache
    from megaasr.route.classifier import AudioQualityClassifier, RouterSizes
    from megaasr.route.router import Router
    from megaasr.transcribe.speech_activity import detect_speech

    start = time.perf_counter()
    loaded = load_model(model, device=device, dtype=dtype, hub=HubOptions(offline=True))
    load_s = time.perf_counter() - start
    samples = noise()
    inputs: Any = loaded.inputs([Request(samples)])
    native: Any = loaded.model
    router = Router(AudioQualityClassifier(RouterSizes()).eval())

    def transcribe() -> None:
        count = int(tokens)
        with torch.inference_mode():
            native.generate(
                **inputs,
                **cache_argument(reserved_cache(count)),
                do_sample=False,
                min_new_tokens=count,
                max_new_tokens=count,
                pad_token_id=0,
            )

    report(
        load_s=load_s,
        transcribe_s=_timed(transcribe),
        router_s=_timed(lambda: router.decide(samples)),
        vad_s=_timed(lambda: detect_speech(samples)),
    )


def _timed(part: Callable[[], object]) -> float:
    part()
    start = time.perf_counter()
    part()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(*sys.argv[1:])
