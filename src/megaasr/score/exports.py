"""Predictions in other people's forms: the Open ASR Leaderboard's rows, the bench's submissions."""

from __future__ import annotations

import json
import re
from pathlib import Path

from megaasr.atomic import write_atomically
from megaasr.score.result import Result
from megaasr.score.test_set import TestClip

LEADERBOARD, SUBMISSION = "open_asr_leaderboard", "bench_submission"
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


def write_leaderboard(result: Result, folder: Path) -> list[Path]:
    """Write a manifest for each system, as the Open ASR Leaderboard's evaluation reads it.

    Rows: `audio_filepath`, `duration` and `time` in seconds, `text`, `pred_text`.
    """
    paths = []
    for system in result.systems:
        rows = []
        for clip in result.clips:
            said = clip.hypotheses[system.name]
            rows.append(
                {
                    "audio_filepath": clip.audio,
                    "duration": clip.duration_s,
                    "time": said.seconds,
                    "text": clip.text,
                    "pred_text": said.text,
                }
            )
        paths.append(_write(folder / LEADERBOARD / f"{file_stem(system.name)}.jsonl", rows))
    return paths


def write_submission(result: Result, clips: tuple[TestClip, ...], folder: Path) -> list[Path]:
    """Write the bench's own records with `prediction` filled, a file for each system."""
    paths = []
    for system in result.systems:
        rows = [
            {**(record.record or {}), "prediction": clip.hypotheses[system.name].text}
            for record, clip in zip(clips, result.clips, strict=True)
        ]
        paths.append(_write(folder / SUBMISSION / f"{file_stem(system.name)}.jsonl", rows))
    return paths


def file_stem(name: str) -> str:
    """Return a system's name as the name of a file."""
    return _NOT_PLAIN.sub("_", name).strip("._") or "system"


def _write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path
