"""Transcribe the clips of the benchmark gpu with one system, in its own environment.

SYSTEM MODEL DEVICE CLIPS MAX_S STEP REPEATS BATCH_SIZE [BATCH_SIZE ...]

MODEL is a folder as released: base and adapter, so that no token ever ends an output. Each batch
size is measured on its own, after a batch of the longest clips to warm up.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.children import report
from benchmarks.gpu_clips import RATE, TOKENS_PER_S, GpuClip, audio_s, draw_clips, every
from benchmarks.random_checkpoint import BASE

if TYPE_CHECKING:
    from megaasr.model.interface import Request

Transcribe = Callable[[Sequence[GpuClip], int], list[int]]
"""Transcribes clips in batches of a size, and returns the number of tokens of each."""


def ours(folder: Path, device: str, sizes: Sequence[int]) -> Transcribe:
    """Return the engine transformers: batches by length, of both routes."""
    from megaasr.hub import HubOptions
    from megaasr.model.loading import load_model

    _set_budgets()
    model = load_model(folder, device=device, dtype=_dtype(device), hub=HubOptions(offline=True))

    def transcribe(clips: Sequence[GpuClip], size: int) -> list[int]:
        model.batch_size = size
        tokens = [result.tokens for result in model.recognize(_requests(clips))]
        if model.batch_size < size:
            raise MemoryError(f"no memory for batches of {size}")
        return tokens

    return transcribe


def released(folder: Path, device: str, sizes: Sequence[int]) -> Transcribe:
    """Return the released method, on transformers' native classes: one clip at a time."""
    import torch

    from benchmarks.released_loop import ReleasedLoop
    from megaasr.adapter.peft_layout import read_adapter
    from megaasr.hub import HubOptions
    from megaasr.model.loading import load_model
    from megaasr.model.parts import ADAPTER

    model = load_model(
        folder / BASE, device=device, dtype=_dtype(device), hub=HubOptions(offline=True)
    )
    loop = ReleasedLoop(model.model, read_adapter(folder / ADAPTER).layers)
    native: Any = model.model

    def transcribe(clips: Sequence[GpuClip], size: int) -> list[int]:
        requests = _requests(clips)

        def decode(number: int) -> list[int]:
            inputs = model.inputs([requests[number]])
            with torch.inference_mode():
                generated = native.generate(
                    **inputs,
                    do_sample=False,
                    max_new_tokens=clips[number].tokens,
                    pad_token_id=model.builder.pad_id,
                )
            row: list[int] = generated[0, inputs["input_ids"].shape[1] :].tolist()
            return row

        return [len(row) for row in loop.run([clip.route for clip in clips], decode)]

    return transcribe


def vllm(folder: Path, device: str, sizes: Sequence[int]) -> Transcribe:
    """Return the engine vllm, which forms its batches itself."""
    from megaasr.hub import HubOptions
    from megaasr.model.engine_limits import EngineLimits
    from megaasr.model.engines import load_on_vllm

    _set_budgets()
    model = load_on_vllm(
        folder,
        dtype=_dtype(device),
        hub=HubOptions(offline=True),
        limits=EngineLimits(max_num_seqs=max(sizes)),
    )

    def transcribe(clips: Sequence[GpuClip], size: int) -> list[int]:
        return [result.tokens for result in model.recognize(_requests(clips))]

    return transcribe


def qwen_asr(folder: Path, device: str, sizes: Sequence[int]) -> Transcribe:
    """Return the authors' package on transformers: the base alone, batches in the clips' order."""
    import torch
    from qwen_asr import Qwen3ASRModel  # type: ignore[import-not-found,unused-ignore]

    model: Any = Qwen3ASRModel.from_pretrained(
        str(folder / BASE), dtype=getattr(torch, _dtype(device)), device_map=device
    )
    generate = model.model.generate
    widths: list[int] = []

    def counted(*args: Any, **options: Any) -> Any:
        output = generate(*args, **options)
        widths.append(output.sequences.shape[1] - options["input_ids"].shape[1])
        return output

    model.model.generate = counted

    def transcribe(clips: Sequence[GpuClip], size: int) -> list[int]:
        tokens: list[int] = []
        for start in range(0, len(clips), size):
            batch = clips[start : start + size]
            # A batch ends with its longest output; the package has one limit for all.
            model.max_new_tokens = max(clip.tokens for clip in batch)
            model.max_inference_batch_size = size
            model.transcribe([(clip.samples, RATE) for clip in batch], language="English")
            tokens += [min(clip.tokens, widths[-1]) for clip in batch]
        return tokens

    return transcribe


_SYSTEMS = {"ours": ours, "released": released, "vllm": vllm, "qwen_asr": qwen_asr}


def main(
    system: str,
    folder: str,
    device: str,
    count: str,
    max_s: str,
    step: str,
    repeats: str,
    *batch_sizes: str,
) -> None:
    """Measure one system, and report each batch size."""
    clips = draw_clips(int(count), float(max_s))
    if int(step) > 1:
        clips = every(clips, int(step))
    sizes = [int(size) for size in batch_sizes]
    start = time.perf_counter()
    transcribe = _SYSTEMS[system](Path(folder), device, sizes)
    load_s = time.perf_counter() - start
    runs = [_measured(transcribe, clips, size, int(repeats), device) for size in sizes]
    report(load_s=round(load_s, 2), audio_s=audio_s(clips), clips=len(clips), runs=runs)


def _measured(
    transcribe: Transcribe, clips: Sequence[GpuClip], size: int, repeats: int, device: str
) -> dict[str, Any]:
    """Return the wall times of a batch size in seconds, and the peak of the GPU's memory."""
    import torch

    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    wall_s = []
    try:
        transcribe(sorted(clips, key=lambda clip: -clip.duration_s)[:size], size)
        for _ in range(repeats):
            gc.collect()
            start = time.perf_counter()
            tokens = transcribe(clips, size)
            wall_s.append(round(time.perf_counter() - start, 4))
            if tokens != [clip.tokens for clip in clips]:
                raise AssertionError("an output has another number of tokens than was asked for")
    except (MemoryError, torch.OutOfMemoryError) as error:
        return {"batch_size": size, "problem": str(error).splitlines()[0]}
    peak = torch.cuda.max_memory_allocated(device) / 1e6 if on_gpu else None
    return {"batch_size": size, "wall_s_runs": wall_s, "peak_gpu_mb": peak}


def _requests(clips: Sequence[GpuClip]) -> list[Request]:
    from megaasr.model.interface import Request

    return [Request(clip.samples, language="en", route=clip.route) for clip in clips]


def _set_budgets() -> None:
    """Let the token budget of a chunk be what the benchmark asks for, in this process."""
    from megaasr.model import request_checks

    request_checks.BUDGET_TOKENS_PER_S = TOKENS_PER_S  # type: ignore[assignment]
    request_checks.MIN_BUDGET_TOKENS = 0


def _dtype(device: str) -> str:
    return "bfloat16" if device.startswith("cuda") else "float32"


if __name__ == "__main__":
    main(*sys.argv[1:])
