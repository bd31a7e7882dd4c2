"""The recipe of the router (paper, appendix): clean or degraded, or which branch is better."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from megaasr.config import Recipe
from megaasr.corpora.clip_check import MAX_LEFT_OUT
from megaasr.errors import UsageError

HardNegative = Literal["quiet", "tones", "telephone"]
"""A way of making clean speech hard for the router (see `hard_negatives.py`)."""


class RouterSizesRecipe(Recipe):
    """Sizes of the network; the defaults are those of the released weights."""

    n_mels: int = Field(default=80, gt=0)
    d_model: int = Field(default=256, gt=0)
    nhead: int = Field(default=4, gt=0)
    dim_feedforward: int = Field(default=1024, gt=0)


class GradedPairRecipe(Recipe):
    """The same clips, graded with the base branch and with the robust one (`--adapter`)."""

    base: Path
    robust: Path


class RouterRecipe(Recipe):
    """A router that detects degraded clips, or clips on which the robust branch is better."""

    label: Literal["degraded", "better"] = Field(
        default="degraded",
        description="degraded: whether the clip was simulated, as in the paper; better: whether "
        "the robust branch has fewer errors on it, from `pairs` (clips with equal errors are left "
        "out)",
    )
    clean: tuple[Path, ...] = Field(default=(), description="manifests of clean clips")
    degraded: tuple[Path, ...] = Field(
        default=(), description="simulated data sets; their clean clips count as clean"
    )
    pairs: tuple[GradedPairRecipe, ...] = Field(
        default=(), description="graded training clips for the label better"
    )
    dev_clean: tuple[Path, ...] = Field(default=(), description="like `clean`, for validation")
    dev_degraded: tuple[Path, ...] = Field(
        default=(), description="like `degraded`, for validation"
    )
    held_out_scenarios: tuple[str, ...] = Field(
        default=(),
        description="scenarios whose clips are not used, in training or validation, to test the "
        "router on conditions that it has not met (label degraded only)",
    )
    dev_pairs: tuple[GradedPairRecipe, ...] = Field(
        default=(), description="graded dev clips: report the error rates of routing (either label)"
    )
    hard_share: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="share of the clean clips that are made hard (label degraded only)",
    )
    hard_negatives: tuple[HardNegative, ...] = Field(
        default=get_args(HardNegative),
        min_length=1,
        description="ways of making clean clips hard; telephone contradicts `degraded` data that "
        "have telephone codecs or narrow bands",
    )
    clean_share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="smallest share of the clean dev clips that stay with the base: probabilities "
        "are shifted after training (label degraded only)",
    )
    seed: int = Field(ge=0, lt=2**32, description="seed of every random choice")
    sizes: RouterSizesRecipe = RouterSizesRecipe()
    dropout: float = Field(default=0.1, ge=0, lt=1)
    epochs: float = Field(
        default=2.0, gt=0, description="passes over the clips of the more frequent label"
    )
    batch_size: int = Field(default=64, gt=0, description="clips in a step, half of them clean")
    longest_s: float = Field(
        default=30.0, gt=0, description="longer clips are cut to this length, seconds"
    )
    learning_rate: float = Field(default=5e-4, gt=0)
    warmup_ratio: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="share of the steps with linear warm-up, followed by cosine decay",
    )
    weight_decay: float = Field(default=0.01, ge=0)
    gradient_norm: float = Field(default=1.0, gt=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    gain_db: float = Field(
        default=10.0, ge=0, description="level of a clip, drawn uniformly from ± this, dB"
    )
    noise_share: float = Field(
        default=0.3, ge=0, le=1, description="share of clips with weak noise"
    )
    noise_snr_db: tuple[float, float] = Field(
        default=(35.0, 55.0), description="range of the noise's SNR, dB"
    )
    evaluate_steps: int = Field(default=200, gt=0, description="steps between validations")
    checkpoint_steps: int = Field(default=200, gt=0, description="steps between checkpoints")
    loader_workers: int = Field(default=2, ge=0, description="processes that decode audio")
    log_steps: int = Field(default=20, gt=0, description="steps between rows of training metrics")
    max_left_out: float = Field(
        default=MAX_LEFT_OUT,
        ge=0,
        le=1,
        description="largest share of the clips that may be left out because they cannot be used",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        required = (
            {"pairs": self.pairs, "dev_pairs": self.dev_pairs}
            if self.label == "better"
            else {
                "clean": self.clean,
                "degraded": self.degraded,
                "dev_clean": self.dev_clean,
                "dev_degraded": self.dev_degraded,
            }
        )
        for name, paths in required.items():
            if not paths:
                raise UsageError(f"{name}: there is none, and the label {self.label} needs it")
        return self

    @property
    def used_pairs(self) -> dict[str, tuple[GradedPairRecipe, ...]]:
        """The pairs that the label uses, by field."""
        pairs = {"pairs": self.pairs} if self.label == "better" else {}
        return {**pairs, "dev_pairs": self.dev_pairs}
