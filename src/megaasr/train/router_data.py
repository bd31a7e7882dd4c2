"""Clips for the router: as many clean ones as degraded, at random levels, of one length a batch."""

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
from megaasr.errors import AudioError
from megaasr.records import read_manifest
from megaasr.train.clips import listing_of
from megaasr.train.router_recipe import RouterRecipe

CLEAN = "clean"


@dataclass(frozen=True, slots=True)
class LabelledClip:
    """A clip and whether it is degraded.

    Attributes:
        audio: path of its sound, perhaps a row of a Parquet shard.
        duration_s: seconds.
        degraded: the label.
        severity: 0..1 of a degraded one, else None.
    """

    audio: str
    duration_s: float
    degraded: bool
    severity: float | None = None


def read_labelled(clean: Sequence[Path], degraded: Sequence[Path]) -> list[LabelledClip]:
    """Read clips with words; in degraded sets the scenario says what they are."""
    found = []
    for number, path in enumerate([*clean, *degraded]):
        listing = listing_of(path)
        for one in read_manifest(listing):
            if not one.text:
                continue  # noises are neither clean nor degraded speech
            scenario = one.extra.get("scenario", CLEAN)
            bad = number >= len(clean) and scenario != CLEAN
            severity = float(one.extra["severity"]) if bad and "severity" in one.extra else None
            duration_s = float(one.extra.get("duration_s") or 0.0)
            found.append(LabelledClip(str(listing.parent / one.audio), duration_s, bad, severity))
    return found


def balanced(clips: Sequence[LabelledClip], seed: int) -> list[LabelledClip]:
    """Return all degraded clips and as many clean ones, drawn (repeated if there are fewer)."""
    bad = [one for one in clips if one.degraded]
    good = [one for one in clips if not one.degraded]
    rng = np.random.default_rng([seed, 5])
    drawn = rng.choice(len(good), len(bad), replace=len(good) < len(bad))
    return [*bad, *(good[at] for at in drawn.tolist())]


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
            return {"samples": None, "label": int(clip.degraded)}
        longest = int(recipe.longest_s * SAMPLE_RATE)
        if samples.size > longest:
            start = int(rng.integers(samples.size - longest + 1))
            samples = samples[start : start + longest]
        return {"samples": _varied(samples, recipe, rng), "label": int(clip.degraded)}


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
