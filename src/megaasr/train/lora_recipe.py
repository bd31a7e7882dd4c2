"""The tables of a recipe that A2S-SFT and DG-WGPO share: adapter size and learning rates."""

from __future__ import annotations

from pydantic import Field

from megaasr.config import Recipe
from megaasr.train.scopes import LayerGroup


class LoraRecipe(Recipe):
    """Size of the low-rank adapter of a phase (appendix: r 8, alpha 16, dropout 0.05, no bias)."""

    rank: int = Field(default=8, gt=0)
    alpha: float = Field(default=16, gt=0)
    dropout: float = Field(default=0.05, ge=0, lt=1)


class LearningRatesRecipe(Recipe):
    """Learning rate of each layer group; only those in the phase's scope are used."""

    encoder: float = Field(default=1e-6, gt=0, description="appendix; the main text says 1e-3")
    aligner: float = Field(default=1e-6, gt=0, description="appendix; the main text says 1e-3")
    llm: float = Field(default=1e-6, gt=0, description="appendix; the main text says 2e-5")

    def by_group(self) -> dict[LayerGroup, float]:
        """Return the learning rates by layer group."""
        return {"encoder": self.encoder, "aligner": self.aligner, "llm": self.llm}
