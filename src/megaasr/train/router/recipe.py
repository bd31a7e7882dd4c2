"""The recipe of the router (paper, appendix): clean against degraded, or which branch is better."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from megaasr.config import Recipe
from megaasr.errors import UsageError


class RouterSizesRecipe(Recipe):
    """Sizes of the network; defaults are those of the released weights."""

    n_mels: int = Field(default=80, gt=0)
    d_model: int = Field(default=256, gt=0)
    nhead: int = Field(default=4, gt=0)
    dim_feedforward: int = Field(default=1024, gt=0)


class GradedPairRecipe(Recipe):
    """The same clips, graded by the base and by the robust branch (mega-asr grade --adapter)."""

    base: Path
    robust: Path


class RouterRecipe(Recipe):
    """A router trained to tell clean from degraded clips, or which branch hears a clip better."""

    label: Literal["degraded", "better"] = Field(
        default="degraded",
        description="degraded: as in the paper, from what was simulated; better: whether the "
        "robust branch has fewer errors on the clip, from `pairs` (equal ones are left out)",
    )
    clean: tuple[Path, ...] = Field(default=(), description="manifests of clean clips")
    degraded: tuple[Path, ...] = Field(
        default=(), description="simulated data sets; their clean clips count as clean"
    )
    pairs: tuple[GradedPairRecipe, ...] = Field(default=(), description="for the label better")
    dev_clean: tuple[Path, ...] = ()
    dev_degraded: tuple[Path, ...] = ()
    dev_pairs: tuple[GradedPairRecipe, ...] = Field(
        default=(), description="to report the words that routing gives, with either label"
    )
    hard_share: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="clean clips that are made quiet, get soft tones or a telephone's band "
        "(label degraded only)",
    )
    seed: int = Field(ge=0, lt=2**32)
    sizes: RouterSizesRecipe = RouterSizesRecipe()
    dropout: float = Field(default=0.1, ge=0, lt=1)
    epochs: float = Field(
        default=2.0, gt=0, description="passes over the clips of the commoner label"
    )
    batch_size: int = Field(default=64, gt=0, description="half of them clean")
    longest_s: float = Field(default=30.0, gt=0, description="clips are cut to this length")
    learning_rate: float = Field(default=5e-4, gt=0)
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1, description="then cosine")
    weight_decay: float = Field(default=0.01, ge=0)
    gradient_norm: float = Field(default=1.0, gt=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    gain_db: float = Field(default=10.0, ge=0, description="level of a clip, uniform within ±")
    noise_share: float = Field(default=0.3, ge=0, le=1, description="clips with weak noise")
    noise_snr_db: tuple[float, float] = Field(default=(35.0, 55.0))
    evaluate_steps: int = Field(default=200, gt=0)
    checkpoint_steps: int = Field(default=200, gt=0)
    loader_workers: int = Field(default=2, ge=0)
    log_steps: int = Field(default=20, gt=0)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed = (
            {"pairs": self.pairs, "dev_pairs": self.dev_pairs}
            if self.label == "better"
            else {
                "clean": self.clean,
                "degraded": self.degraded,
                "dev_clean": self.dev_clean,
                "dev_degraded": self.dev_degraded,
            }
        )
        for name, given in needed.items():
            if not given:
                raise UsageError(f"{name}: there is none, and the label {self.label} needs it")
        return self
