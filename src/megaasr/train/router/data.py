"""Labelled clips of the router: both labels are balanced, and batches have one length."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from megaasr.audio.clips import read_clip
from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.corpora.clip_check import (
    NOTHING_READABLE,
    ClipRecord,
    LeftOut,
    check_clips,
    count_left_out,
)
from megaasr.errors import AudioError, TrainingError
from megaasr.records import Utterance, read_manifest
from megaasr.train.clips import find_manifest
from megaasr.train.router.hard_negatives import HARD_NEGATIVES
from megaasr.train.router.recipe import GradedPairRecipe, RouterRecipe

CLEAN = "clean"
"""Scenario of the clean clips in a simulated data set."""
_MIN_SAMPLES = SAMPLE_RATE // 10
"""Shorter clips are left out of their batch."""


@dataclass(frozen=True, slots=True)
class LabelledClip:
    """A clip and the branch that should decode it.

    Attributes:
        audio: path of the audio file, or of a row of a Parquet shard.
        duration_s: length in seconds.
        robust: label: whether the clip is degraded, or the robust branch is better on it.
        severity: severity of a degraded clip, 0..1; None for others.
    """

    audio: str
    duration_s: float
    robust: bool
    severity: float | None = None


@dataclass(frozen=True, slots=True)
class GradedPair:
    """A clip and the errors of both branches on it.

    Attributes:
        audio: path of the audio file, or of a row of a Parquet shard.
        duration_s: length in seconds.
        severity: severity of a degraded clip, 0..1; None for others.
        scenario: name of its scenario; empty if it was not simulated.
        words: number of words of the reference.
        base_errors: number of errors of the base branch.
        robust_errors: number of errors of the robust branch.
    """

    audio: str
    duration_s: float
    severity: float | None
    scenario: str
    words: int
    base_errors: int
    robust_errors: int


C = TypeVar("C", LabelledClip, GradedPair)


def read_labelled(
    clean: Sequence[Path], degraded: Sequence[Path], held_out: Collection[str] = ()
) -> list[LabelledClip]:
    """Read clips with speech and label them as clean or degraded.

    Args:
        clean: manifests of clean clips.
        degraded: simulated data sets; their clips of the scenario `clean` are clean.
        held_out: scenarios whose clips are not read.

    Raises:
        TrainingError: a path is neither a manifest nor the folder of a data set.
    """
    clips = []
    for number, path in enumerate([*clean, *degraded]):
        manifest = find_manifest(path)
        for utterance in read_manifest(manifest):
            if not utterance.text:
                continue  # noises are neither clean nor degraded speech
            scenario = utterance.extra.get("scenario")
            if scenario in held_out:
                continue
            is_degraded = number >= len(clean) and scenario != CLEAN
            severity = _severity(utterance) if is_degraded else None
            audio = str(manifest.parent / utterance.audio)
            clips.append(LabelledClip(audio, _duration_s(utterance), is_degraded, severity))
    return clips


def read_pairs(pairs: Sequence[GradedPairRecipe]) -> list[GradedPair]:
    """Read the clips that were graded with both branches.

    Args:
        pairs: pairs of data sets.

    Raises:
        TrainingError: a data set is missing or not graded, or two have no clip in common.
    """
    graded: list[GradedPair] = []
    for pair in pairs:
        base_manifest, robust_manifest = find_manifest(pair.base), find_manifest(pair.robust)
        robust_by_id = {utterance.id: utterance for utterance in read_manifest(robust_manifest)}
        common = [
            (base, robust_by_id[base.id])
            for base in read_manifest(base_manifest)
            if base.id in robust_by_id
        ]
        if not common:
            raise TrainingError(f"{pair.base} and {pair.robust} have no clip in common")
        for base, robust in common:
            words, base_errors = _count_errors(base, base_manifest)
            _, robust_errors = _count_errors(robust, robust_manifest)
            graded.append(
                GradedPair(
                    audio=str(base_manifest.parent / base.audio),
                    duration_s=_duration_s(base),
                    severity=_severity(base),
                    scenario=str(base.extra.get("scenario") or ""),
                    words=words,
                    base_errors=base_errors,
                    robust_errors=robust_errors,
                )
            )
    return graded


def _duration_s(utterance: Utterance) -> float:
    return float(utterance.extra.get("duration_s") or 0.0)


def _severity(utterance: Utterance) -> float | None:
    severity = utterance.extra.get("severity")
    return float(severity) if isinstance(severity, int | float) else None


def _count_errors(utterance: Utterance, manifest: Path) -> tuple[int, int]:
    """Return the number of words of the reference and the number of errors."""
    names = ("base_hits", "base_substitutions", "base_deletions", "base_insertions")
    if any(not isinstance(utterance.extra.get(name), int) for name in names):
        raise TrainingError(f"{manifest}: {utterance.id} is not graded; run mega-asr grade")
    hits, substitutions, deletions, insertions = (int(utterance.extra[name]) for name in names)
    return hits + substitutions + deletions, substitutions + deletions + insertions


def usable_clips(clips: Sequence[C]) -> tuple[list[C], LeftOut]:
    """Return the clips whose audio can be used, and what is left out; each clip is decoded once.

    Args:
        clips: labelled clips or graded pairs, of any length.
    """
    records = [ClipRecord(clip.audio, clip.audio, None, clip.duration_s or None) for clip in clips]
    problems = check_clips(records, max_s=None)
    usable = [clip for clip, problem in zip(clips, problems, strict=True) if problem is None]
    return usable, count_left_out(records, problems)


def label_better_branch(pairs: Sequence[GradedPair]) -> list[LabelledClip]:
    """Return the clips on which the branches differ, labelled by the branch with fewer errors."""
    return [
        LabelledClip(
            pair.audio, pair.duration_s, pair.robust_errors < pair.base_errors, pair.severity
        )
        for pair in pairs
        if pair.robust_errors != pair.base_errors
    ]


def oversample_by_error_gap(pairs: Sequence[GradedPair]) -> list[LabelledClip]:
    """Return the clips on which the branches differ, each as often as their errors differ.

    So the loss weights a clip by what the wrong branch costs on it, and at probability 0.5 both
    branches cost the same.

    Raises:
        TrainingError: one branch is nowhere better.
    """
    clips = [
        clip
        for pair in pairs
        for clip in label_better_branch([pair]) * abs(pair.robust_errors - pair.base_errors)
    ]
    _require_both_labels(clips)
    return clips


def balance_labels(clips: Sequence[LabelledClip], seed: int) -> list[LabelledClip]:
    """Return equally many clips of both labels: all clips, and repetitions of the rarer label.

    Args:
        clips: labelled clips.
        seed: seed of the draw of repeated clips.

    Raises:
        TrainingError: all clips have the same label.
    """
    _require_both_labels(clips)
    robust = [clip for clip in clips if clip.robust]
    base = [clip for clip in clips if not clip.robust]
    rng = np.random.default_rng([seed, 5])
    count = max(len(robust), len(base))
    return [
        *robust,
        *base,
        *(robust[index] for index in rng.choice(len(robust), count - len(robust)).tolist()),
        *(base[index] for index in rng.choice(len(base), count - len(base)).tolist()),
    ]


def _require_both_labels(clips: Sequence[LabelledClip]) -> None:
    if len({clip.robust for clip in clips}) < 2:
        raise TrainingError(f"all {len(clips)} clips of the router have the same label")


class RouterClips(Dataset[dict[str, Any]]):
    """Waveforms at random levels, some with weak noise, so that neither reveals the label.

    An item has `samples`, float32 of shape [time] at 16 kHz (None if the clip cannot be read), and
    `label`, 1 for the robust branch. Random choices depend on the seed and on the clip alone.

    Args:
        clips: labelled clips.
        recipe: augmentation and seed.
    """

    def __init__(self, clips: Sequence[LabelledClip], recipe: RouterRecipe) -> None:
        self.clips, self._recipe = clips, recipe

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        clip, recipe = self.clips[index], self._recipe
        rng = np.random.default_rng([recipe.seed, 6, index])
        try:
            samples = read_clip(Path(), clip.audio).samples
        except (AudioError, OSError):
            return {"samples": None, "label": int(clip.robust)}
        max_samples = int(recipe.longest_s * SAMPLE_RATE)
        if samples.size > max_samples:
            start = int(rng.integers(samples.size - max_samples + 1))
            samples = samples[start : start + max_samples]
        is_clean = recipe.label == "degraded" and not clip.robust
        kind = None
        if is_clean and rng.random() < recipe.hard_share:
            kind = recipe.hard_negatives[int(rng.integers(len(recipe.hard_negatives)))]
            samples = HARD_NEGATIVES[kind](samples, rng)
        if kind != "quiet":  # another level would undo it
            samples = _augment(samples, recipe, rng)
        return {"samples": samples, "label": int(clip.robust)}


def _augment(
    samples: NDArray[np.float32], recipe: RouterRecipe, rng: np.random.Generator
) -> NDArray[np.float32]:
    gain = 10 ** (rng.uniform(-recipe.gain_db, recipe.gain_db) / 20)
    augmented = samples * np.float32(gain)
    if rng.random() < recipe.noise_share:
        level = float(np.sqrt(np.mean(np.square(augmented, dtype=np.float64)) + 1e-12))
        noise_level = level * 10 ** (-rng.uniform(*recipe.noise_snr_db) / 20)
        noise = noise_level * rng.standard_normal(augmented.size)
        augmented = augmented + noise.astype(np.float32)
    # Values beyond full scale would be clipped in a file: a cue that real clips do not have.
    return np.asarray(augmented / max(1.0, float(np.abs(augmented).max(initial=0.0))))


def collate(examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Return a batch of clips, cut to the shortest of them: the network supports no padding.

    Args:
        examples: items of `RouterClips`; those without samples are left out.

    Returns:
        `samples`, float32 of shape [clips, time], and `labels`, int64 of shape [clips].

    Raises:
        TrainingError: no clip of the batch can be used.
    """
    usable = [e for e in examples if e["samples"] is not None and e["samples"].size >= _MIN_SAMPLES]
    if not usable:
        raise TrainingError(NOTHING_READABLE)
    length = min(example["samples"].size for example in usable)
    return {
        "samples": torch.from_numpy(np.stack([example["samples"][:length] for example in usable])),
        "labels": torch.tensor([example["label"] for example in usable]),
    }
