"""The recipe of `small`'s decoder: what `mega-asr train decoder` needs to know."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from megaasr.config import Recipe
from megaasr.train.step_loop import LoopRecipe


class DecoderPhase(Recipe):
    """A stretch of the training on some of the data."""

    manifests: tuple[str, ...] = Field(min_length=1, description="whose frames are learnt from")
    steps: int = Field(gt=0)
    max_s: float = Field(gt=0, le=30, description="longer examples are left out, seconds")
    ctc_only: bool = Field(
        default=False, description="train the projector alone, by CTC, without the decoder"
    )
    batch_s: float = Field(gt=0, description="audio seconds in a batch, all processes together")


class DecoderRecipe(LoopRecipe):
    """Trains `small`'s projector and decoder on encoder frames."""

    frames: Path = Field(description="folder of encoder frames (mega-asr train encode)")
    encoder: Path = Field(description="folder of the fitted encoder")
    language_model: Path = Field(description="folder of the pre-trained language model")
    dev: Path = Field(description="manifest whose error rate is watched")
    phases: tuple[DecoderPhase, ...] = Field(min_length=1)
    context_share: float = Field(ge=0, le=1, description="share with text in the system turn")
    time_masks_per_s: float = Field(ge=0, description="masks per second of audio")
    time_mask_s: float = Field(ge=0, description="longest mask, seconds")
    feature_dropout: float = Field(ge=0, lt=1, description="share of an example's frame dimensions")
    ctc_weight: float = Field(ge=0, description="weight of the projector's CTC loss")
    ctc_learning_rate_scale: float = Field(gt=0, description="of projector and CTC head, times")
    weight_decay: float = Field(ge=0)
    gradient_norm: float = Field(gt=0)
    evaluate_clips: int = Field(gt=0, description="dev clips in each score")

    @property
    def steps(self) -> int:
        """Optimizer steps of all phases."""
        return sum(phase.steps for phase in self.phases)
