"""A model of the released size with random weights: loading, memory, and what routing costs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import Row, Settings, Table, llama_cpp
from benchmarks.processes import child, run_process
from benchmarks.random_checkpoint import BASE, write_native, write_released
from benchmarks.timing import say

_TOKENS, _AUDIO_S = 100, 30
_DTYPES = ("float32", "int8")
_COPY = "int8, stored"
"""The copy of `mega-asr quantize`, which is loaded as it is."""
_PEER = "llama.cpp, Q8_0"


def run(settings: Settings) -> tuple[Mapping[str, Any], list[Row]]:
    """Write the checkpoint, and let a fresh process load it and decode one chunk."""
    from megaasr.model.int8_checkpoint import write_int8
    from megaasr.model.parts import ModelParts

    with tempfile.TemporaryDirectory() as folder:
        say("released_size: writing the checkpoint")
        path = Path(folder) / "model"
        millions = write_native(path, quick=settings.quick)
        size_gb = sum(file.stat().st_size for file in path.glob("*.safetensors")) / 1e9
        tokens = 4 if settings.quick else _TOKENS
        reports = {}
        for dtype in _DTYPES:
            say(f"released_size: loading it in {dtype}, and decoding one chunk")
            process = run_process(child("released_size", path, settings.device, tokens, dtype))
            reports[dtype] = process.report()
        say("released_size: writing the copy with 8-bit weights, loading it, and decoding")
        copy = Path(folder) / "int8"
        write_int8(ModelParts(path), copy)
        process = run_process(child("released_size", copy, settings.device, tokens, "int8"))
        reports[_COPY] = process.report()
        if (source := llama_cpp.folder()) is not None and not settings.quick:
            say("released_size: converting the model for llama.cpp, loading it, and decoding")
            released = Path(folder) / "released"
            write_released(released, quick=False)
            reports[_PEER] = llama_cpp.measure(source, released / BASE, Path(folder), tokens=tokens)
    rows: list[Row] = []
    for dtype, report in reports.items():
        rows += (
            {"what": name, "dtype": dtype, "wall_s": round(report[key], 2)}
            | {"times_float32": round(reports["float32"][key] / report[key], 2)}
            for name, key in (
                ("load the weights", "load_s"),
                (f"transcribe {_AUDIO_S} s", "transcribe_s"),
            )
        )
    exact = reports["float32"]
    rows += (
        {
            "what": name,
            "wall_s": round(exact[key], 4),
            "share": round(exact[key] / exact["transcribe_s"], 5),
        }
        for name, key in (("the router", "router_s"), ("voice-activity detection", "vad_s"))
    )
    used = {
        "millions": round(millions),
        "file_gb": round(size_gb, 2),
        "peak_mb": {dtype: report["peak_mb"] for dtype, report in reports.items()},
        "tokens": tokens,
        "audio_s": _AUDIO_S,
        "device": settings.device,
    }
    return used, rows


def table(entry: Mapping[str, Any]) -> Table:
    """One line for each part and data type."""
    used = entry["settings"]
    lines = [
        [
            row["what"],
            row.get("dtype", ""),
            f"{row['wall_s']:.3g}",
            f"{row['times_float32']:.1f} x" if "times_float32" in row else "",
            f"{100 * row['share']:.2f} %" if "share" in row else "",
        ]
        for row in entry["rows"]
    ]
    peaks = ", ".join(f"{peak / 1000:.1f} GB in {dtype}" for dtype, peak in used["peak_mb"].items())
    note = (
        f"Random weights in the shape of the 1.7B: {used['millions']} million parameters, "
        f"{used['file_gb']} GB in bfloat16 on disk, on {used['device']}; peak memory of the "
        f"process: {peaks}. One chunk of {used['audio_s']} s, {used['tokens']} tokens; the router "
        "in its released size. Timed is a second run of each, but of loading the only one."
    )
    if _PEER in used["peak_mb"]:
        note += (
            " llama.cpp warms up by itself and then decodes once; all else that its process does "
            "counts as loading."
        )
    columns = ("part", "weights", "wall s", "as fast as float32", "of transcribing in float32")
    return Table("released_size", note, columns, lines)
