"""Throughput on a GPU with both branches; peers: the released loop and the authors' package.

All systems transcribe noise with random weights in the shape of the 1.7B, and generate the same
number of tokens for a clip, which depends on its length. Each runs in a process of its own. Two of
them pin other versions of torch and transformers, and run in environments of their own.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import ROOT, BenchmarkError, Row, Settings, Table
from benchmarks.gpu_clips import MIN_S, TOKENS_PER_S
from benchmarks.processes import child, run_process
from benchmarks.timing import say

QWEN_ASR_PYTHON, VLLM_PYTHON = "MEGAASR_QWEN_ASR_PYTHON", "MEGAASR_VLLM_PYTHON"
"""Environment variables: Python interpreters of environments with qwen-asr 0.0.6 and with vLLM."""
_VLLM_DEFAULT = ROOT / ".venv-vllm" / "bin" / "python"
_OURS, _RELEASED = "ours, transformers", "as released"
_QWEN_ASR, _VLLM = "qwen-asr, transformers", "ours, vLLM"


@dataclass(frozen=True, slots=True)
class _Sizes:
    """How much is measured.

    Attributes:
        clips: number of clips.
        max_s: length of the longest possible clip in seconds.
        step: clips that stand for a single clip of the released loop, which is slow.
        repeats: timed runs of every other system.
        batch_sizes: clips in a batch, of the systems that have batches.
    """

    clips: int = 256
    max_s: float = 30.0
    step: int = 8
    repeats: int = 2
    batch_sizes: Sequence[int] = (32, 128)


_QUICK = _Sizes(clips=6, max_s=3.5, step=1, repeats=1, batch_sizes=(2, 3))


@dataclass(frozen=True, slots=True)
class _System:
    """A system to measure.

    Attributes:
        name: name in the table.
        program: name for the program that measures it.
        python: interpreter of its environment; None if there is no such environment.
        absence: why there is none.
    """

    name: str
    program: str
    python: str | None
    absence: str = "not installed"


def run(settings: Settings) -> tuple[Mapping[str, Any], list[Row]]:
    """Write the model, and let a fresh process of each system transcribe the clips.

    Raises:
        BenchmarkError: there is no GPU to measure, or one of our systems fails.
    """
    sizes = _QUICK if settings.quick else _Sizes()
    _require_device(settings)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        from benchmarks.random_checkpoint import RANK, write_released

        say("gpu: writing the model")
        millions = write_released(Path(folder), quick=settings.quick)
        for system in _systems():
            rows += _measure(system, Path(folder), settings.device, sizes)
    _compare(rows)
    used = {
        "clips": sizes.clips,
        "shortest_s": MIN_S,
        "longest_s": sizes.max_s,
        "tokens_per_s": TOKENS_PER_S,
        "released_step": sizes.step,
        "repeats": sizes.repeats,
        "millions": round(millions),
        "rank": 4 if settings.quick else RANK,
        "device": settings.device,
        "dtype": "float32" if settings.device == "cpu" else "bfloat16",
    }
    return used, rows


def _require_device(settings: Settings) -> None:
    if settings.device.startswith("cuda"):
        from megaasr.errors import UsageError
        from megaasr.model.loading import choose_device

        try:
            choose_device(settings.device)
        except UsageError as error:
            raise BenchmarkError(str(error)) from error
    elif not (settings.quick and settings.device == "cpu"):
        raise BenchmarkError(
            "gpu measures on a GPU: add --device cuda; on a CPU, --quick checks that it works"
        )


def _systems() -> list[_System]:
    return [
        _System(_RELEASED, "released", sys.executable),
        _System(_OURS, "ours", sys.executable),
        _peer(_QWEN_ASR, "qwen_asr", os.environ.get(QWEN_ASR_PYTHON) or sys.executable),
        _peer(_VLLM, "vllm", os.environ.get(VLLM_PYTHON) or str(_VLLM_DEFAULT)),
    ]


def _peer(name: str, package: str, python: str) -> _System:
    """Return a system that runs in an environment, if this has the package."""
    program = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    try:
        installed = not subprocess.run([python, "-c", program], check=False).returncode
    except OSError:
        installed = False
    return _System(name, package, python if installed else None)


def _measure(system: _System, folder: Path, device: str, sizes: _Sizes) -> list[Row]:
    """Return a row for each batch size of a system, or a single one that says why there is none."""
    if system.python is None:
        say(f"gpu: {system.name} is left out, {system.absence}")
        return [{"what": system.name, "system": system.program, "absent": system.absence}]
    say(f"gpu: {system.name}")
    is_released = system.program == "released"
    # vLLM forms its batches itself, of up to so many clips.
    batch_sizes = {"released": (1,), "vllm": (max(sizes.batch_sizes),)}
    command = child(
        "gpu",
        system.program,
        folder,
        device,
        sizes.clips,
        sizes.max_s,
        sizes.step if is_released else 1,
        1 if is_released else sizes.repeats,
        *batch_sizes.get(system.program, sizes.batch_sizes),
    )
    source = str(ROOT / "src")
    path = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        finished = run_process([system.python, *command[1:]], {"PYTHONPATH": path})
    except BenchmarkError as error:
        if system.program in ("released", "ours"):
            raise
        say(f"gpu: {system.name} failed: {error}")
        return [{"what": system.name, "system": system.program, "absent": "failed"}]
    return _rows(system, finished.report())


def _rows(system: _System, report: Mapping[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for measured in report["runs"]:
        row = {
            "what": system.name,
            "system": system.program,
            "batch_size": measured["batch_size"],
            "clips": report["clips"],
            "audio_s": round(report["audio_s"], 1),
            "load_s": report["load_s"],
        }
        if "problem" in measured:
            rows.append({**row, "absent": "out of memory"})
            continue
        wall_s = statistics.median(measured["wall_s_runs"])
        row |= {
            "wall_s": round(wall_s, 4),
            "wall_s_runs": measured["wall_s_runs"],
            "rtfx_wall": round(report["audio_s"] / wall_s, 3),
            "peak_gpu_mb": measured["peak_gpu_mb"],
        }
        rows.append(row)
    return rows


def _compare(rows: Sequence[Row]) -> None:
    """Add how many times as fast each row is as each peer in the peer's best batch size."""
    for peer in ("released", "qwen_asr"):
        speeds = [row["rtfx_wall"] for row in rows if row["system"] == peer and "wall_s" in row]
        for row in rows:
            if speeds and "wall_s" in row:
                row[f"times_{peer}"] = round(row["rtfx_wall"] / max(speeds), 3)


def table(entry: Mapping[str, Any]) -> Table:
    """One line for each system and batch size."""
    used = entry["settings"]
    lines = []
    for row in entry["rows"]:
        if "absent" in row:
            lines.append([row["what"], str(row.get("batch_size", "–")), row["absent"], *["–"] * 4])
            continue
        peak = row["peak_gpu_mb"]
        lines.append(
            [
                row["what"],
                str(row["batch_size"]),
                f"{row['rtfx_wall']:.1f}",
                f"{row['wall_s']:.2f}",
                f"{row['times_released']:.2f}",
                f"{row['times_qwen_asr']:.2f}" if "times_qwen_asr" in row else "–",
                "–" if peak is None else f"{peak / 1000:.1f}",
            ]
        )
    share = "all clips" if used["released_step"] == 1 else f"every {used['released_step']}th clip"
    note = (
        f"{used['clips']} clips of {used['shortest_s']:g} to {used['longest_s']:g} s of noise, "
        f"half of them on the robust route, {used['tokens_per_s']:g} tokens for each second; "
        f"random weights in the shape of the 1.7B ({used['millions']} million parameters) in "
        f"{used['dtype']} on {used['device']}, with an adapter of rank {used['rank']} on all "
        "linear layers. RTFx: seconds of audio per second; medians of "
        f"{used['repeats']} run(s) after a warm-up. As released: dense deltas added to the weights "
        f"and subtracted again, one clip at a time, sorted by route; one run of {share} by length. "
        "qwen-asr 0.0.6 decodes all clips with the base alone, in batches in their order. × peer: "
        "our speed over that of its best batch size. Peak: memory that torch allocated; vLLM "
        "allocates its cache when it starts."
    )
    head = ("system", "batch", "RTFx", "wall s", "× as released", "× qwen-asr", "peak GB")
    return Table("gpu", note, head, lines)
