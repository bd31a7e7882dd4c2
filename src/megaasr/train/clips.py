"""Training clips: graded records, the selection of a stage, and their features."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from megaasr.audio.clips import read_clip
from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.corpora.clip_check import (
    MAX_LEFT_OUT,
    ClipRecord,
    LeftOut,
    check_clips,
    count_left_out,
)
from megaasr.errors import AudioError, TrainingError
from megaasr.model.geometry import AudioGeometry
from megaasr.model.inputs import Features
from megaasr.model.interface import MAX_CHUNK_S
from megaasr.records import read_manifest
from megaasr.train.log_mel import floor_and_scale, log_mel

MAX_CLIP_S = MAX_CHUNK_S
"""Length of the longest clip that is trained on, in seconds."""
_MANIFESTS = ("graded.jsonl", "simulated.jsonl")


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip to train on.

    Attributes:
        id, text, language: id, reference and ISO code of the language, as in the clip's record.
        audio: path of the audio file, or of a row of a Parquet shard.
        duration_s: length in seconds.
        error_rate: error rate of the model that graded the clip; None if it is not graded.
        base_text: hypothesis of that model; empty if the clip is not graded.
    """

    id: str
    audio: str
    text: str
    language: str | None
    duration_s: float
    error_rate: float | None
    base_text: str = ""


def find_manifest(path: Path) -> Path:
    """Return the manifest that a path stands for: itself, or the one of a data set's folder.

    Args:
        path: a manifest, or the folder of a graded or simulated data set.

    Raises:
        TrainingError: the path is neither.
    """
    if path.is_file():
        return path
    manifest = next((path / name for name in _MANIFESTS if (path / name).is_file()), None)
    if manifest is None:
        raise TrainingError(f"{path} is neither a manifest nor the folder of a data set")
    return manifest


def read_clips(paths: Iterable[Path]) -> list[Clip]:
    """Read the clips of at most 30 s, without a look at their audio.

    Args:
        paths: manifests or folders of data sets.

    Raises:
        TrainingError: a path is neither, or a record has no `duration_s`.
        RecordError: a line is not a valid record.
    """
    return [clip for path in paths for clip in _read_manifest_clips(find_manifest(path))]


def read_usable_clips(
    paths: Sequence[Path],
    *,
    max_left_out: float = MAX_LEFT_OUT,
    held_out_scenarios: Collection[str] = (),
) -> tuple[list[Clip], LeftOut]:
    """Read the clips that can be trained on, and decode each of them once to know that it can.

    Args:
        paths: manifests or folders of data sets.
        max_left_out: largest share of the clips, 0..1, that may be left out.
        held_out_scenarios: scenarios whose clips are not read.

    Returns:
        The clips that can be used, in the order of the manifests, and those that are left out.

    Raises:
        TrainingError: as `read_clips`; no clip can be used, or too many cannot.
        RecordError: a line is not a valid record.
    """
    clips = [
        clip for path in paths for clip in _read_all_clips(find_manifest(path), held_out_scenarios)
    ]
    records = [ClipRecord(clip.id, clip.audio, clip.text, clip.duration_s) for clip in clips]
    problems = check_clips(records)
    left_out = count_left_out(records, problems)
    left_out.require(max_left_out, ", ".join(map(str, paths)))
    usable = [clip for clip, problem in zip(clips, problems, strict=True) if problem is None]
    return usable, left_out


def _read_manifest_clips(manifest: Path) -> Iterator[Clip]:
    return (clip for clip in _read_all_clips(manifest) if 0 < clip.duration_s <= MAX_CLIP_S)


def _read_all_clips(manifest: Path, held_out_scenarios: Collection[str] = ()) -> Iterator[Clip]:
    for utterance in read_manifest(manifest):
        if utterance.extra.get("scenario") in held_out_scenarios:
            continue
        duration_s = utterance.extra.get("duration_s")
        if not isinstance(duration_s, int | float):
            raise TrainingError(f"{manifest}: {utterance.id} has no duration_s")
        yield Clip(
            id=utterance.id,
            audio=str(manifest.parent / utterance.audio),
            text=utterance.text,
            language=utterance.language,
            duration_s=float(duration_s),
            error_rate=utterance.extra.get("base_error_rate"),
            base_text=str(utterance.extra.get("base_text") or ""),
        )


def select_clips(
    clips: Sequence[Clip], max_error_rate: float | None, count: int | None, seed: Sequence[int]
) -> list[Clip]:
    """Return the clips of a stage, in the order of the data set.

    Args:
        clips: all clips of the data sets.
        max_error_rate: strict upper bound of the base model's error rate; None also accepts clips
            that are not graded.
        count: maximum number of clips, drawn without replacement; None for all.
        seed: seed of the draw.

    Raises:
        TrainingError: no clip is left, or there is a bound and the clips are not graded.
    """
    if max_error_rate is not None and any(clip.error_rate is None for clip in clips):
        raise TrainingError(
            "the data set is not graded, so it cannot be filtered by base_error_rate; run "
            "mega-asr grade on it"
        )
    selected = [
        clip
        for clip in clips
        if max_error_rate is None
        or (clip.error_rate is not None and clip.error_rate < max_error_rate)
    ]
    if not selected:
        raise TrainingError(f"no clip has a base error rate below {max_error_rate}")
    if count is not None and count < len(selected):
        indices = np.random.default_rng([*seed]).choice(len(selected), count, replace=False)
        selected = [selected[index] for index in sorted(indices.tolist())]
    return selected


class ClipFeatures(Dataset[dict[str, Any]]):
    """Features and transcripts of clips; audio is decoded on access (in the loader's workers).

    An item has `features`, `text` and `language`. The features of a clip that cannot be read are
    None; the collator leaves it out of its batch.

    Args:
        clips: clips of one stage.
        geometry: audio geometry of the model.
    """

    def __init__(self, clips: Sequence[Clip], geometry: AudioGeometry) -> None:
        self.clips = clips
        self._geometry = geometry

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        clip = self.clips[index]
        return {"features": self._features(clip), "text": clip.text, "language": clip.language}

    def _features(self, clip: Clip) -> Features | None:
        try:
            return extract_features(read_clip(Path(), clip.audio).samples, self._geometry)
        except (AudioError, OSError):
            return None


def extract_features(samples: NDArray[np.float32], geometry: AudioGeometry) -> Features | None:
    """Return the log-mel features of a clip, float32 of shape [frames, mels]; None without samples.

    Args:
        samples: audio, float32 of shape [time], 16 kHz mono; only its first 30 s are used.
        geometry: audio geometry of the model.
    """
    if not samples.size:
        return None
    return floor_and_scale(log_mel(samples[: int(MAX_CLIP_S * SAMPLE_RATE)], geometry))
