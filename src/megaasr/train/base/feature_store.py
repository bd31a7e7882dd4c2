"""Log-mel features of a manifest, computed once and read through memory maps."""

from __future__ import annotations

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megaasr import strict_json
from megaasr.atomic import atomic_file, write_atomically
from megaasr.audio import files
from megaasr.audio.waveform import Samples
from megaasr.corpora.clip_check import (
    NOTHING_LEFT_OUT,
    TOO_MUCH_TEXT,
    UNREADABLE,
    LeftOut,
    find_problem,
    is_too_much_text,
)
from megaasr.errors import AudioError
from megaasr.model.geometry import AudioGeometry
from megaasr.progress import OnProgress
from megaasr.records import Utterance, read_manifest
from megaasr.train.log_mel import log_mel

SHARD_CLIPS = 500
"""Clips in a shard."""


@dataclass(frozen=True, slots=True)
class StoredClip:
    """An utterance and the position of its features.

    Attributes:
        utterance: record of the clip.
        shard: index of the shard.
        start: index of the first frame in the shard.
        frames: number of frames.
    """

    utterance: Utterance
    shard: int
    start: int
    frames: int


class FeatureStore:
    """The features of one manifest: float16 shards of shape [frames, mels], and an index of each.

    Args:
        clips: clips of the manifest that can be used, in its order.
        shards: features of all clips of a shard in sequence.
        geometry: audio geometry of the features.
        left_out: the clips of the manifest that cannot be used.
    """

    def __init__(
        self,
        clips: list[StoredClip],
        shards: list[NDArray[np.float16]],
        geometry: AudioGeometry,
        left_out: LeftOut = NOTHING_LEFT_OUT,
    ) -> None:
        self.clips = clips
        self.left_out = left_out
        self.geometry = geometry
        self._shards = shards

    def __len__(self) -> int:
        return len(self.clips)

    def features(self, index: int) -> NDArray[np.float32]:
        """Return the log10 mel powers of a clip, float32 of shape [frames, mels]."""
        clip = self.clips[index]
        stored = self._shards[clip.shard][clip.start : clip.start + clip.frames]
        return stored.astype(np.float32)

    @classmethod
    def open(
        cls,
        manifest: Path,
        folder: Path,
        geometry: AudioGeometry,
        *,
        workers: int | None = None,
        on_progress: OnProgress = lambda done, total: None,
    ) -> FeatureStore:
        """Open the features of a manifest; missing shards are computed first.

        Args:
            manifest: manifest (JSONL); it must not change once features exist.
            folder: folder of the shards, a cache that may be deleted at any time. It may hold the
                shards of several geometries.
            geometry: audio geometry of the model that the features are for.
            workers: number of processes that compute shards; None for one per core.
            on_progress: called with the number of finished shards and the number of missing ones.
        """
        utterances = list(read_manifest(manifest))
        folder.mkdir(parents=True, exist_ok=True)
        shards = [
            _Shard(
                manifest.parent,
                folder / f"{manifest.stem}{_suffix(geometry)}-{start // SHARD_CLIPS:05d}",
                batch,
                geometry,
            )
            for start in range(0, len(utterances), SHARD_CLIPS)
            if (batch := utterances[start : start + SHARD_CLIPS])
        ]
        missing = [shard for shard in shards if not shard.is_current()]
        if missing:
            # A forked child would inherit torch's thread pools in an undefined state.
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=context) as pool:
                for done, _ in enumerate(pool.map(_compute_shard, missing), 1):
                    on_progress(done, len(missing))
        clips: list[StoredClip] = []
        features: list[NDArray[np.float16]] = []
        left_out: list[tuple[str, str]] = []
        for number, shard in enumerate(shards):
            start, index = 0, shard.index()
            problems = index.get("left_out", {})
            for utterance, frames in zip(shard.utterances, index["frames"], strict=True):
                problem = problems.get(utterance.id)
                if problem is None and is_too_much_text(utterance.text, geometry.seconds(frames)):
                    problem = TOO_MUCH_TEXT  # features of an earlier version were not checked
                if problem is None:
                    clips.append(StoredClip(utterance, number, start, frames))
                else:
                    left_out.append((utterance.id, problem))
                start += frames
            features.append(np.load(shard.path.with_suffix(".npy"), mmap_mode="r"))
        return cls(clips, features, geometry, LeftOut(len(utterances), tuple(left_out)))


@dataclass(frozen=True, slots=True)
class _Shard:
    """A part of the manifest whose features share a file.

    Attributes:
        root: folder of the manifest.
        path: path of the shard's files without their extension.
        utterances: records of the clips.
        geometry: audio geometry of the features.
    """

    root: Path
    path: Path
    utterances: list[Utterance]
    geometry: AudioGeometry

    def index(self) -> dict[str, Any]:
        """Return the ids and the number of frames of the shard's clips."""
        index: dict[str, Any] = json.loads(self.path.with_suffix(".json").read_text())
        return index

    def is_current(self) -> bool:
        """Tell whether the shard is complete (its index is written last) and has these clips."""
        ids = [utterance.id for utterance in self.utterances]
        return self.path.with_suffix(".json").is_file() and self.index()["ids"] == ids


def _suffix(geometry: AudioGeometry) -> str:
    """Return the part of a shard's name that tells geometries apart; none for Qwen3-ASR's own."""
    numbers = [
        (g.hop_samples, g.n_fft, g.mel_bins, g.min_samples) for g in (geometry, AudioGeometry())
    ]
    return "" if numbers[0] == numbers[1] else "-" + "-".join(map(str, numbers[0]))


def _compute_shard(shard: _Shard) -> None:
    import torch

    torch.set_num_threads(1)
    nothing = np.zeros((0, shard.geometry.mel_bins), np.float16)
    features: list[NDArray[np.float16]] = []
    problems: dict[str, str] = {}
    for clip in shard.utterances:
        samples, problem = _read(shard.root / clip.audio, clip)
        if problem is None:
            features.append(log_mel(samples, shard.geometry).astype(np.float16))
        else:
            features.append(nothing)
            problems[clip.id] = problem
    with atomic_file(shard.path.with_suffix(".npy")) as file:
        np.save(file, np.concatenate(features))
    ids = [clip.id for clip in shard.utterances]
    index: dict[str, Any] = {"ids": ids, "frames": [len(frames) for frames in features]}
    if problems:
        index["left_out"] = problems
    write_atomically(shard.path.with_suffix(".json"), strict_json.dumps(index))


def _read(path: Path, clip: Utterance) -> tuple[Samples, str | None]:
    """Return the samples of a clip, and its problem; None if it can be trained on."""
    stated_s = clip.extra.get("duration_s")
    try:
        samples = files.read(path).samples
    except (AudioError, OSError):
        return np.zeros(0, np.float32), UNREADABLE
    stated_s = float(stated_s) if isinstance(stated_s, int | float) else None
    return samples, find_problem(samples.size, clip.text, stated_s)
