"""What it costs to start: commands, imports, and the first transcript of a fresh process."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import Row, Settings, Table
from benchmarks.processes import Finished, child, run_process
from benchmarks.timing import say

_CLIP_S = 5.0
_BARE, _TORCH, _NATIVE = "python -c pass", "import torch, transformers", "first clip, transformers"


def run(settings: Settings) -> tuple[Mapping[str, Any], list[Row]]:
    """Start everything in turn; the first round warms the disk's cache and is not counted."""
    from benchmarks.clips import write_speech
    from megaasr.model.request_checks import token_budget

    repeats = 1 if settings.quick else 5
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.wav"
        write_speech(clip, _CLIP_S)
        budget = token_budget(_CLIP_S)
        model = (settings.folder, settings.device)
        commands = {
            _BARE: [sys.executable, "-c", "pass"],
            "mega-asr --help": [*_mega_asr(), "--help"],
            "mega-asr --version": [*_mega_asr(), "--version"],
            "import megaasr": [sys.executable, "-c", "import megaasr"],
            _TORCH: [sys.executable, "-c", "import torch, transformers"],
            _NATIVE: child("native_files", *model, budget, clip),
            "first clip, megaasr": child("megaasr_file", *model, clip),
        }
        processes: dict[str, list[Finished]] = {name: [] for name in commands}
        rounds = repeats if settings.quick else repeats + 1
        for number in range(rounds):
            say(f"startup: round {number + 1} of {rounds}")
            for name, command in commands.items():
                processes[name].append(run_process(command))
    last_runs = {name: runs[-repeats:] for name, runs in processes.items()}
    rows = [_row(name, last_runs) for name in commands]
    return {"repeats": repeats, "clip_s": _CLIP_S, "device": settings.device}, rows


def _mega_asr() -> list[str]:
    """Return the installed command, or what does the same in a checkout without it."""
    script = Path(sys.executable).with_name("mega-asr")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "megaasr"]


def _row(name: str, processes: Mapping[str, list[Finished]]) -> Row:
    base = {_TORCH: _BARE, _NATIVE: _TORCH, "first clip, megaasr": _NATIVE}.get(name, _BARE)
    wall_s, cpu_s = (
        median(process.wall_s for process in processes[name]),
        median(_cpu(processes[name])),
    )
    row: Row = {
        "what": name,
        "wall_s": round(wall_s, 4),
        "cpu_s": round(cpu_s, 4),
        "wall_s_runs": [round(process.wall_s, 4) for process in processes[name]],
        "cpu_s_runs": [round(seconds, 4) for seconds in _cpu(processes[name])],
        "base": base,
        "times_base_wall": round(wall_s / median(process.wall_s for process in processes[base]), 3),
        "times_base_cpu": round(cpu_s / median(_cpu(processes[base])), 3),
    }
    if name.startswith("first clip"):
        reports = [process.report() for process in processes[name]]
        for field in ("load_s", "transcribe_s"):
            row[field] = round(median(report[field] for report in reports), 4)
    return row


def _cpu(processes: list[Finished]) -> list[float]:
    return [process.cpu_s for process in processes]


def table(entry: Mapping[str, Any]) -> Table:
    """One line for each command."""
    lines = []
    for row in entry["rows"]:
        parts = "–"
        if "load_s" in row:
            parts = f"{row['load_s']:.2f} + {row['transcribe_s']:.2f}"
        lines.append(
            [
                f"`{row['what']}`",
                f"{row['wall_s']:.3f}",
                f"{row['cpu_s']:.3f}",
                parts,
                f"`{row['base']}`",
                f"{row['times_base_wall']:.2f}",
                f"{row['times_base_cpu']:.2f}",
            ]
        )
    used = entry["settings"]
    note = (
        "Fresh processes, from start to exit. × base: the cost as a multiple of the base's. First "
        f"clip: load the model and transcribe {used['clip_s']:g} s of speech from a file on "
        f"{used['device']}; its parts are import and load + transcribe. Medians of "
        f"{used['repeats']} run(s)."
    )
    head = ("process", "wall s", "CPU s", "parts, s", "base", "× base", "× base, CPU")
    return Table("startup: cost of a fresh process", note, head, lines)
