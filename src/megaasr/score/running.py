"""Run systems over a test set: in chunks, resumable, and no clip stops another."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from megaasr.atomic import write_atomically
from megaasr.audio.clips import read_clip
from megaasr.audio.waveform import Waveform
from megaasr.errors import AudioError, UsageError
from megaasr.folder_claim import FolderClaim
from megaasr.progress import OnRemarkedProgress
from megaasr.score.predictions import UNUSABLE, Prediction, PredictionLog, System
from megaasr.score.test_set import TestClip, TestSetFile

CHUNK = 64
"""Clips that are read, transcribed and written down together; what a kill can lose."""
_HASHES = ("_sha256", "_fingerprint")
RUN_FILE, PREDICTIONS_FILE = "run.json", "predictions.jsonl"


def claim(output: Path, test_set: TestSetFile, systems: Sequence[System]) -> None:
    """Make the output folder this benchmark's, or check that it is.

    Further systems may join an earlier benchmark on the same test set.

    Raises:
        UsageError: it belongs to another test set, or a system of this name had other settings.
    """
    claimed = FolderClaim(output, RUN_FILE, "holds a benchmark of another test set")
    inputs: dict[str, Any] = {"test_set": test_set.sha256}
    recorded = claimed.read() or {**inputs, "systems": {}}
    claimed.require_same({"test_set": recorded["test_set"]}, inputs)
    for system in systems:
        settings = {"kind": system.kind, **system.settings}
        before = recorded["systems"].get(system.name, settings)
        differing = sorted(
            name
            for name in {*before, *settings}
            if before.get(name) != settings.get(name)
            and not (name.endswith(_HASHES) and name not in before)  # of an earlier version
        )
        if differing:
            raise UsageError(
                f"{output} holds predictions of a system {system.name} with other settings "
                f"({', '.join(differing)} of {json.dumps(before)}); give this one another name "
                "(--system NAME=…), or choose another folder"
            )
        recorded["systems"][system.name] = settings
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(claimed.path, json.dumps(recorded, indent=1) + "\n")


def run_system(
    system: System, test_set: TestSetFile, log: PredictionLog, *, on_progress: OnRemarkedProgress
) -> None:
    """Ask a system for every clip that it was not asked for before.

    Args:
        system: what transcribes.
        test_set: the clips.
        log: where predictions go.
        on_progress: told (done, of how many, a remark) after every chunk.
    """
    waiting = [clip for clip in test_set.clips if log.get(system.name, clip.id) is None]
    done = len(test_set.clips) - len(waiting)
    if waiting:
        system.prepare()
    audio_s = seconds = 0.0
    for start in range(0, len(waiting), CHUNK):
        chunk = waiting[start : start + CHUNK]
        said = _transcribe(system, test_set.audio_root, chunk)
        log.add(system.name, said)
        done += len(chunk)
        audio_s += sum(one.duration_s or 0.0 for one in said.values())
        seconds += sum(one.seconds or 0.0 for one in said.values())
        remark = f"{system.name}, {audio_s / seconds:.1f} times real time" if seconds else ""
        on_progress(done, len(test_set.clips), remark)
    system.close()


def _transcribe(system: System, root: Path, chunk: Sequence[TestClip]) -> dict[str, Prediction]:
    said: dict[str, Prediction] = {}
    heard: dict[str, Waveform] = {}
    for clip in chunk:
        try:
            heard[clip.id] = read_clip(root, clip.audio)
        except (AudioError, OSError) as error:
            said[clip.id] = Prediction("", error=f"{UNUSABLE}{error}")
    began = time.perf_counter()
    answers = system.predict(list(heard.values())) if heard else []
    seconds = time.perf_counter() - began
    total_s = sum(waveform.duration_s for waveform in heard.values()) or 1.0
    for (name, waveform), answer in zip(heard.items(), answers, strict=True):
        # The batch's time, shared out by length: clips are not transcribed one by one.
        share = seconds * waveform.duration_s / total_s
        said[name] = replace(answer, seconds=share, duration_s=waveform.duration_s)
    return {clip.id: said[clip.id] for clip in chunk}
