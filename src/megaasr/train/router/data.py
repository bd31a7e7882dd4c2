"""Clips for the router: as many of one label as of the other, of one length a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from megaasr.audio.clips import read_clip
from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.errors import AudioError, TrainingError
from megaasr.records import Utterance, read_manifest
from megaasr.train.clips import listing_of
from megaasr.train.router.hard_negatives import HARD
from megaasr.train.router.recipe import GradedPairRecipe, RouterRecipe

CLEAN = "clean"


@dataclass(frozen=True, slots=True)
class LabelledClip:
    """A clip and which branch should hear it.

    Attributes:
        audio: path of its sound, perhaps a row of a Parquet shard.
        duration_s: seconds.
        robust: the label: degraded, or better heard by the robust branch.
        severity: 0..1 of a degraded one, else None.
    """

    audio: str
    duration_s: float
    robust: bool
    severity: float | None = None


@dataclass(frozen=True, slots=True)
class GradedPair:
    """A clip and the errors of both branches on it.

    Attributes:
        audio, duration_s, severity: as in `LabelledClip`.
        words: of the reference.
        base_errors, robust_errors: of each branch.
    """

    audio: str
    duration_s: float
    severity: float | None
    words: int
    base_errors: int
    robust_errors: int


def read_labelled(clean: Sequence[Path], degraded: Sequence[Path]) -> list[LabelledClip]:
    """Read clips with words; in degraded sets those of scenario `clean` are clean."""
    found = []
    for number, path in enumerate([*clean, *degraded]):
        listing = listing_of(path)
        for one in read_manifest(listing):
            if not one.text:
                continue  # noises are neither clean nor degraded speech
            bad = number >= len(clean) and one.extra.get("scenario") != CLEAN
            severity = _severity(one) if bad else None
            duration_s = float(one.extra.get("duration_s") or 0.0)
            found.append(LabelledClip(str(listing.parent / one.audio), duration_s, bad, severity))
    return found


def read_pairs(pairs: Sequence[GradedPairRecipe]) -> list[GradedPair]:
    """Read the clips that both branches were graded on.

    Raises:
        TrainingError: a data set is not graded, or the two have no clip in common.
    """
    found: list[GradedPair] = []
    for pair in pairs:
        listing = listing_of(pair.base)
        robust = {one.id: one for one in read_manifest(listing_of(pair.robust))}
        count = len(found)
        for one in read_manifest(listing):
            other = robust.get(one.id)
            if other is None:
                continue
            words, base = _graded(one, listing)
            _, better = _graded(other, listing_of(pair.robust))
            found.append(
                GradedPair(
                    str(listing.parent / one.audio),
                    float(one.extra.get("duration_s") or 0.0),
                    _severity(one),
                    words,
                    base,
                    better,
                )
            )
        if len(found) == count:
            raise TrainingError(f"{pair.base} and {pair.robust} have no clip in common")
    return found


def _severity(one: Utterance) -> float | None:
    severity = one.extra.get("severity")
    return float(severity) if isinstance(severity, int | float) else None


def _graded(one: Utterance, listing: Path) -> tuple[int, int]:
    """Return words of the reference and errors."""
    names = ("base_hits", "base_substitutions", "base_deletions", "base_insertions")
    if any(not isinstance(one.extra.get(name), int) for name in names):
        raise TrainingError(f"{listing}: {one.id} is not graded; run mega-asr grade")
    hits, substitutions, deletions, insertions = (int(one.extra[name]) for name in names)
    return hits + substitutions + deletions, substitutions + deletions + insertions


def which_is_better(pairs: Sequence[GradedPair]) -> list[LabelledClip]:
    """Return the clips whose branches differ, labelled by which has fewer errors."""
    return [
        LabelledClip(one.audio, one.duration_s, one.robust_errors < one.base_errors, one.severity)
        for one in pairs
        if one.robust_errors != one.base_errors
    ]


def as_often_as_it_matters(pairs: Sequence[GradedPair]) -> list[LabelledClip]:
    """Return the clips whose branches differ, each as often as their errors differ.

    So the loss weighs a clip by what the wrong branch costs there, and probability 0.5 is where
    both branches cost the same.

    Raises:
        TrainingError: one branch is nowhere better.
    """
    found = [
        clip
        for pair in pairs
        for clip in which_is_better([pair]) * abs(pair.robust_errors - pair.base_errors)
    ]
    _require_both_labels(found)
    return found


def balanced(clips: Sequence[LabelledClip], seed: int) -> list[LabelledClip]:
    """Return as many clips of either label: all, and some of the rarer one again, drawn.

    Raises:
        TrainingError: all clips have one label.
    """
    _require_both_labels(clips)
    bad = [one for one in clips if one.robust]
    good = [one for one in clips if not one.robust]
    rng = np.random.default_rng([seed, 5])
    most = max(len(bad), len(good))
    return [
        *bad,
        *good,
        *(bad[at] for at in rng.choice(len(bad), most - len(bad)).tolist()),
        *(good[at] for at in rng.choice(len(good), most - len(good)).tolist()),
    ]


def _require_both_labels(clips: Sequence[LabelledClip]) -> None:
    if len({one.robust for one in clips}) < 2:
        raise TrainingError(f"all {len(clips)} clips of the router have the same label")


class RouterClips(Dataset[dict[str, Any]]):
    """Waveforms at random levels, some with weak noise, so that neither tells the label.

    What is drawn depends on seed and clip alone.

    Args:
        clips: to read.
        recipe: of the augmentation.
    """

    def __init__(self, clips: Sequence[LabelledClip], recipe: RouterRecipe) -> None:
        self.clips, self._recipe = clips, recipe

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, at: int) -> dict[str, Any]:
        clip, recipe = self.clips[at], self._recipe
        rng = np.random.default_rng([recipe.seed, 6, at])
        try:
            samples = read_clip(Path(), clip.audio).samples
        except (AudioError, OSError):
            return {"samples": None, "label": int(clip.robust)}
        longest = int(recipe.longest_s * SAMPLE_RATE)
        if samples.size > longest:
            start = int(rng.integers(samples.size - longest + 1))
            samples = samples[start : start + longest]
        hard = recipe.label == "degraded" and not clip.robust and rng.random() < recipe.hard_share
        if hard:
            kind = list(HARD)[int(rng.integers(len(HARD)))]
            samples = HARD[kind](samples, rng)
        varied = samples if hard and kind == "quiet" else _varied(samples, recipe, rng)
        return {"samples": varied, "label": int(clip.robust)}


def _varied(
    samples: NDArray[np.float32], recipe: RouterRecipe, rng: np.random.Generator
) -> NDArray[np.float32]:
    gain = 10 ** (rng.uniform(-recipe.gain_db, recipe.gain_db) / 20)
    found = samples * np.float32(gain)
    if rng.random() < recipe.noise_share:
        level = float(np.sqrt(np.mean(np.square(found, dtype=np.float64)) + 1e-12))
        noise = level * 10 ** (-rng.uniform(*recipe.noise_snr_db) / 20)
        found = found + (noise * rng.standard_normal(found.size)).astype(np.float32)
    # Louder than full scale would be clipped when it is stored: a sign of its own.
    return np.asarray(found / max(1.0, float(np.abs(found).max(initial=0.0))))


def collate(examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Cut the clips of a batch to the shortest: the network knows no padding."""
    heard = [one for one in examples if one["samples"] is not None and one["samples"].size >= 1600]
    if not heard:
        return {"samples": torch.zeros(1, 1600), "labels": torch.full((1,), -100)}
    length = min(one["samples"].size for one in heard)
    return {
        "samples": torch.from_numpy(np.stack([one["samples"][:length] for one in heard])),
        "labels": torch.tensor([one["label"] for one in heard]),
    }
