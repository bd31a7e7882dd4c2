"""The recipe of the router: clean against degraded audio (paper, appendix)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from megaasr.config import Recipe


class RouterSizesRecipe(Recipe):
    """Sizes of the network; defaults are those of the released weights."""

    n_mels: int = Field(default=80, gt=0)
    d_model: int = Field(default=256, gt=0)
    nhead: int = Field(default=4, gt=0)
    dim_feedforward: int = Field(default=1024, gt=0)


class RouterRecipe(Recipe):
    """A router trained on clean and degraded clips."""

    clean: tuple[Path, ...] = Field(min_length=1, description="manifests of clean clips")
    degraded: tuple[Path, ...] = Field(
        min_length=1, description="simulated data sets; their clean clips count as clean"
    )
    dev_clean: tuple[Path, ...] = Field(min_length=1)
    dev_degraded: tuple[Path, ...] = Field(min_length=1)
    seed: int = Field(ge=0, lt=2**32)
    sizes: RouterSizesRecipe = RouterSizesRecipe()
    dropout: float = Field(default=0.1, ge=0, lt=1)
    epochs: float = Field(default=2.0, gt=0, description="passes over the degraded clips")
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
