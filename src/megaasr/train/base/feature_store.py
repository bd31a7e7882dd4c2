"""Log-mel features of a manifest, computed once and read by memory map."""

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

from megaasr.atomic import atomic_file, write_atomically
from megaasr.audio import files
from megaasr.model.geometry import AudioGeometry
from megaasr.progress import OnProgress
from megaasr.records import Utterance, read_manifest
from megaasr.train.log_mel import log_mel

SHARD_CLIPS = 500


@dataclass(frozen=True, slots=True)
class StoredClip:
    """An utterance and where its features lie."""

    utterance: Utterance
    shard: int
    start: int
    frames: int


class FeatureStore:
    """The features of one manifest: float16 shards [frames, mels] beside an index.

    Attributes:
        clips: of the manifest, in its order.
        geometry: of the features.
    """

    def __init__(
        self,
        clips: list[StoredClip],
        shards: list[NDArray[np.float16]],
        geometry: AudioGeometry,
    ) -> None:
        self.clips = clips
        self.geometry = geometry
        self._shards = shards

    def __len__(self) -> int:
        return len(self.clips)

    def features(self, index: int) -> NDArray[np.float32]:
        """Return float32 [frames, mels], log10 powers as `log_mel` gives them."""
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
        """Open the features of a manifest, computing the shards that are not there yet.

        Args:
            manifest: JSONL; it must not change once features exist.
            folder: where the shards lie (they are a cache: it may be deleted at any time); shards
                of several geometries may lie there together.
            geometry: of the model that the features are for.
            workers: processes that compute shards.
            on_progress: called with shards done and shards in all.
        """
        utterances = list(read_manifest(manifest))
        folder.mkdir(parents=True, exist_ok=True)
        jobs = [
            _Job(
                manifest.parent,
                folder / f"{manifest.stem}{_tag(geometry)}-{start // SHARD_CLIPS:05d}",
                batch,
                geometry,
            )
            for start in range(0, len(utterances), SHARD_CLIPS)
            if (batch := utterances[start : start + SHARD_CLIPS])
        ]
        missing = [job for job in jobs if not _is_current(job.shard, job.batch)]
        if missing:
            # A forked child would inherit torch's thread pools in an undefined state.
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=context) as pool:
                for done, _ in enumerate(pool.map(_compute_shard, missing), 1):
                    on_progress(done, len(missing))
        clips: list[StoredClip] = []
        shards: list[NDArray[np.float16]] = []
        for number, job in enumerate(jobs):
            start = 0
            for utterance, frames in zip(job.batch, _read_index(job.shard)["frames"], strict=True):
                clips.append(StoredClip(utterance, number, start, frames))
                start += frames
            shards.append(np.load(job.shard.with_suffix(".npy"), mmap_mode="r"))
        return cls(clips, shards, geometry)


@dataclass(frozen=True, slots=True)
class _Job:
    """A shard to compute: the manifest's folder, the shard's path without ending, its clips."""

    root: Path
    shard: Path
    batch: list[Utterance]
    geometry: AudioGeometry


def _tag(geometry: AudioGeometry) -> str:
    """Return what names the shards of a geometry; Qwen3-ASR's have none."""
    numbers = [
        (one.hop_samples, one.n_fft, one.mel_bins, one.min_samples)
        for one in (geometry, AudioGeometry())
    ]
    return "" if numbers[0] == numbers[1] else "-" + "-".join(map(str, numbers[0]))


def _read_index(shard: Path) -> dict[str, Any]:
    index: dict[str, Any] = json.loads(shard.with_suffix(".json").read_text())
    return index


def _is_current(shard: Path, batch: list[Utterance]) -> bool:
    """The index is written last, so a shard with an index is whole."""
    index = shard.with_suffix(".json")
    return index.is_file() and _read_index(shard)["ids"] == [u.id for u in batch]


def _compute_shard(job: _Job) -> None:
    import torch

    torch.set_num_threads(1)
    features = [
        log_mel(files.read(job.root / clip.audio).samples, job.geometry).astype(np.float16)
        for clip in job.batch
    ]
    with atomic_file(job.shard.with_suffix(".npy")) as file:
        np.save(file, np.concatenate(features))
    index = {"ids": [clip.id for clip in job.batch], "frames": [len(one) for one in features]}
    write_atomically(job.shard.with_suffix(".json"), json.dumps(index))
