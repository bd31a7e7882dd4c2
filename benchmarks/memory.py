"""Peak memory by length of recording; only the text may make it grow."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import Row, Settings, Table
from benchmarks.processes import child, run_process
from benchmarks.timing import say

_MINUTES, _QUICK_MINUTES = (5, 30, 120), (1, 2, 4)
_BATCH_SIZE = 8  # megaasr's default; the peer decodes as many clips of the maximum length at once
_MAX_CLIP_S = 30.0
_WAITING_BATCHES = 4  # batches of chunks that megaasr keeps waiting, sorted by length
_BYTES_PER_S = 16_000 * 4  # of decoded speech; stereo at 48 kHz has six times as many
_PEER = f"one batch of {_BATCH_SIZE} × {_MAX_CLIP_S:.0f} s, transformers"
_DECODE = "decode 48 kHz stereo FLAC, megaasr"


def run(settings: Settings) -> tuple[Mapping[str, Any], list[Row]]:
    """Transcribe, and decode alone, files of growing length, each in a fresh process."""
    from benchmarks.clips import write_speech, write_stereo

    minutes = _QUICK_MINUTES if settings.quick else _MINUTES
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        rows.append(_native(settings, Path(folder)))
        for length in minutes:
            say(f"memory: transcribe {length} min")
            file = Path(folder) / "speech.wav"
            write_speech(file, 60.0 * length)
            command = child("megaasr_file", settings.folder, settings.device, file, 60 * length)
            rows.append(_row("transcribe, megaasr", run_process(command).report(), _BYTES_PER_S))
        file.unlink()
        for length in minutes:
            say(f"memory: decode {length} min")
            file = Path(folder) / "stereo.flac"
            write_stereo(file, 60.0 * length)
            report = run_process(child("decode_file", file)).report()
            rows.append(_row(_DECODE, report, 6 * _BYTES_PER_S))
    _add_growth(rows)
    return {"minutes": list(minutes), "batch_size": _BATCH_SIZE, "device": settings.device}, rows


def _native(settings: Settings, folder: Path) -> Row:
    """Measure one full batch of the peer, which takes no clip of more than 30 s."""
    from benchmarks.clips import write_speech
    from megaasr.model.request_checks import token_budget

    say("memory: one batch, transformers")
    file = folder / "clip.wav"
    write_speech(file, _MAX_CLIP_S)
    files = [file] * _BATCH_SIZE
    budget = token_budget(_MAX_CLIP_S)
    command = child("native_files", settings.folder, settings.device, budget, *files)
    return _row(_PEER, run_process(command).report(), _BYTES_PER_S)


def _row(what: str, report: Mapping[str, Any], bytes_per_s: int) -> Row:
    seconds = report.get("transcribe_s", report.get("decode_s"))
    return {
        "what": what,
        "audio_s": round(report["audio_s"], 2),
        "peak_mb": report["peak_mb"],
        "samples_mb": round(report["audio_s"] * bytes_per_s / 1e6, 1),
        "text_kb": round(report.get("text_bytes", 0) / 1e3, 2),
        "seconds": round(seconds, 3),
    }


def _add_growth(rows: list[Row]) -> None:
    """Compare every row with the peer and with shorter recordings of the same kind."""
    peaks: dict[str, list[float]] = {}
    for row in rows:
        same_kind = peaks.setdefault(row["what"], [])
        peak = row["peak_mb"]
        same_kind.append(peak)
        row["growth_mb"] = round(peak - same_kind[0], 1)
        row["growth_step_mb"] = round(peak - same_kind[max(0, len(same_kind) - 2)], 1)
        row["times_peer"] = None if row["what"] == _DECODE else round(peak / peaks[_PEER][0], 3)


def table(entry: Mapping[str, Any]) -> Table:
    """One line for each length."""
    lines = [
        [
            row["what"],
            f"{row['audio_s'] / 60:.3g}",
            f"{row['peak_mb']:.0f}",
            f"{row['growth_mb']:+.1f}",
            f"{row['growth_step_mb']:+.1f}",
            f"{row['text_kb']:.1f}",
            f"{row['samples_mb']:.0f}",
            "–" if row["times_peer"] is None else f"{row['times_peer']:.2f}",
        ]
        for row in entry["rows"]
    ]
    used = entry["settings"]
    waiting = _WAITING_BATCHES * used["batch_size"]
    note = (
        "Peak resident memory (MB: 10^6 bytes) of a fresh process, Python, libraries and weights "
        f"included, on {used['device']}; growth: over the shortest recording of the same kind, and "
        "over the line above; text: the transcript as JSON; all samples: what the decoded "
        "recording would take in memory; × peer: as a multiple of the first line. "
        f"Up to {waiting} chunks wait for the model (at most "
        f"{waiting * _MAX_CLIP_S * _BYTES_PER_S / 1e6:.0f} MB), which only recordings of more than "
        f"{waiting * _MAX_CLIP_S / 60:.0f} minutes are sure to reach."
    )
    head = (
        "process",
        "minutes",
        "peak MB",
        "growth MB",
        "growth in this step MB",
        "text kB",
        "all samples MB",
        "× peer",
    )
    return Table("memory: peak by length", note, head, lines)
