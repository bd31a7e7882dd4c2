"""Run systems over a test set; runs resume, and no clip stops another."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.audio.clips import read_clip
from megaasr.audio.waveform import Waveform
from megaasr.errors import AudioError, UsageError
from megaasr.folder_claim import FolderClaim
from megaasr.progress import OnRemarkedProgress
from megaasr.score.predictions import UNUSABLE, Prediction, PredictionLog, System
from megaasr.score.test_set import TestClip, TestSetFile

SAVE_EVERY = 64
"""Default number of clips to read, transcribe and save together; at most this many are lost
if the process is killed."""
RUN_FILE, PREDICTIONS_FILE = "run.json", "predictions.jsonl"
_HASH_SUFFIXES = ("_sha256", "_fingerprint")


def claim(output: Path, test_set: TestSetFile, systems: Sequence[System]) -> None:
    """Make the output folder this benchmark's, or check that it is.

    Systems may be added to an earlier benchmark on the same test set.

    Raises:
        UsageError: the folder belongs to another test set, or holds predictions of a system with
            the same name and other settings.
    """
    folder_claim = FolderClaim(output, RUN_FILE, "holds a benchmark of another test set")
    inputs: dict[str, Any] = {"test_set": test_set.sha256}
    recorded = folder_claim.read() or {**inputs, "systems": {}}
    folder_claim.require_same({"test_set": recorded["test_set"]}, inputs)
    for system in systems:
        settings = {"kind": system.kind, **system.settings}
        previous = recorded["systems"].get(system.name, settings)
        differing = sorted(
            name
            for name in {*previous, *settings}
            if previous.get(name) != settings.get(name)
            # Earlier versions did not record all hashes.
            and not (name.endswith(_HASH_SUFFIXES) and name not in previous)
        )
        if differing:
            raise UsageError(
                f"{output} holds predictions of a system {system.name} with other settings "
                f"({', '.join(differing)} of {strict_json.dumps(previous)}); give this one another "
                "name (--system NAME=…), or choose another folder"
            )
        recorded["systems"][system.name] = settings
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(folder_claim.path, strict_json.dumps(recorded, indent=1) + "\n")


def run_system(
    system: System,
    test_set: TestSetFile,
    log: PredictionLog,
    *,
    on_progress: OnRemarkedProgress,
    save_every: int = SAVE_EVERY,
) -> dict[str, Prediction]:
    """Transcribe every clip for which the log has no prediction of the system yet.

    Args:
        system: the recogniser under test.
        test_set: the test set.
        log: the log that predictions are read from and appended to.
        on_progress: called after every `save_every` clips.
        save_every: number of clips to read, transcribe and save together.

    Returns:
        The system's prediction for every clip of the test set, by clip id.
    """
    missing = [clip for clip in test_set.clips if log.get(system.name, clip.id) is None]
    done = len(test_set.clips) - len(missing)
    if missing:
        system.prepare()
    audio_s = seconds = 0.0
    for start in range(0, len(missing), save_every):
        clips = missing[start : start + save_every]
        predictions = _transcribe(system, test_set.audio_root, clips)
        log.add(system.name, predictions)
        done += len(clips)
        audio_s += sum(prediction.duration_s or 0.0 for prediction in predictions.values())
        seconds += sum(prediction.seconds or 0.0 for prediction in predictions.values())
        remark = f"{system.name}, {audio_s / seconds:.1f} times real time" if seconds else ""
        on_progress(done, len(test_set.clips), remark)
    system.close()
    return {clip.id: log[system.name, clip.id] for clip in test_set.clips}


def _transcribe(system: System, root: Path, clips: Sequence[TestClip]) -> dict[str, Prediction]:
    predictions: dict[str, Prediction] = {}
    waveforms: dict[str, Waveform] = {}
    for clip in clips:
        try:
            waveforms[clip.id] = read_clip(root, clip.audio)
        except (AudioError, OSError) as error:
            predictions[clip.id] = Prediction("", error=f"{UNUSABLE}{error}")
    started = time.perf_counter()
    outputs = system.predict(list(waveforms.values())) if waveforms else []
    seconds = time.perf_counter() - started
    total_s = sum(waveform.duration_s for waveform in waveforms.values()) or 1.0
    for (clip_id, waveform), output in zip(waveforms.items(), outputs, strict=True):
        # Clips are not transcribed one by one, so the batch's time is divided by their lengths.
        share = seconds * waveform.duration_s / total_s
        predictions[clip_id] = replace(output, seconds=share, duration_s=waveform.duration_s)
    return {clip.id: predictions[clip.id] for clip in clips}
