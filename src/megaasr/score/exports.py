"""Predictions in public formats: Open ASR Leaderboard, Voices-in-the-Wild-Bench submissions."""

from __future__ import annotations

import re
from pathlib import Path

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.audio.segments import parse_segment
from megaasr.score.result import Result, ScoredClip
from megaasr.score.test_set import TestClip

LEADERBOARD, SUBMISSION = "open_asr_leaderboard", "bench_submission"
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


def write_leaderboard(result: Result, folder: Path) -> list[Path]:
    """Write one manifest per system, in the format that the Open ASR Leaderboard evaluates.

    Columns: `audio_filepath`, `offset` of a segment, `duration` and `time` in seconds, `text`,
    `pred_text`.

    Returns:
        Paths of the files, below `folder/open_asr_leaderboard`.
    """
    paths = []
    for system in result.systems:
        rows = []
        for clip in result.clips:
            hypothesis = clip.hypotheses[system.name]
            rows.append(
                {
                    **_nemo_audio(clip),
                    "time": hypothesis.seconds,
                    "text": clip.text,
                    "pred_text": hypothesis.text,
                }
            )
        paths.append(_write(folder / LEADERBOARD / f"{file_stem(system.name)}.jsonl", rows))
    return paths


def write_submission(result: Result, clips: tuple[TestClip, ...], folder: Path) -> list[Path]:
    """Write the records of Voices-in-the-Wild-Bench with `prediction` filled in, a file per system.

    Args:
        result: the finished benchmark.
        clips: the test set's clips with their records, in the order of the result.
        folder: the output folder.

    Returns:
        Paths of the files, below `folder/bench_submission`.
    """
    paths = []
    for system in result.systems:
        rows = [
            {**(record.record or {}), "prediction": clip.hypotheses[system.name].text}
            for record, clip in zip(clips, result.clips, strict=True)
        ]
        paths.append(_write(folder / SUBMISSION / f"{file_stem(system.name)}.jsonl", rows))
    return paths


def _nemo_audio(clip: ScoredClip) -> dict[str, object]:
    """Return path and length of a clip's audio, and its offset if it is a segment."""
    segment = parse_segment(clip.audio)
    if segment is None:
        return {"audio_filepath": clip.audio, "duration": clip.duration_s}
    if segment.start_s is None:
        return {"audio_filepath": segment.recording, "duration": segment.end_s}
    duration_s = None if segment.end_s is None else round(segment.end_s - segment.start_s, 6)
    return {
        "audio_filepath": segment.recording,
        "offset": segment.start_s,
        # As the test set states it, since the name of the segment is made of it.
        "duration": duration_s,
    }


def file_stem(name: str) -> str:
    """Return the name of a system as a file name without a suffix."""
    return _NOT_PLAIN.sub("_", name).strip("._") or "system"


def _write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(
        path, "".join(strict_json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    )
    return path
