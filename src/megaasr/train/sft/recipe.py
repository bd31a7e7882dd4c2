"""The recipe of A2S-SFT; the defaults are those of the Mega-ASR paper's appendix (2605.19833)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from megaasr.config import Recipe
from megaasr.corpora.clip_check import MAX_LEFT_OUT
from megaasr.errors import UsageError
from megaasr.train.lora_recipe import LearningRatesRecipe, LoraRecipe
from megaasr.train.scopes import Scope


class PhaseRecipe(Recipe):
    """One phase: an adapter of its own, trained in one or several stages of growing difficulty."""

    name: str = Field(min_length=1, pattern=r"^[a-z0-9_-]+$", description="folder of the phase")
    scope: Scope = Field(description="layers that are trained")
    stages: tuple[float | None, ...] = Field(
        default=(0.7,),
        min_length=1,
        description="strict upper bound of the base model's error rate for each stage; the stages "
        "are nested. None, in TOML inf: no bound, and clips that are not graded, too",
    )
    epochs: float = Field(default=1.0, gt=0, description="passes over the clips of each stage")
    sample: int | None = Field(
        default=None,
        gt=0,
        description="clips of a stage, drawn at random (paper: 30,000 in phase I)",
    )
    fresh: int | None = Field(
        default=None,
        gt=0,
        description="instead of stages on `data`: number of clips that are simulated from `clean` "
        "speech during training, each used once",
    )
    rates: LearningRatesRecipe = Field(
        default=LearningRatesRecipe(), description="learning rate of each layer group"
    )
    warmup_ratio: float = Field(
        default=0.05, ge=0, lt=1, description="share of the steps with linear warm-up"
    )

    @field_validator("stages", mode="before")
    @classmethod
    def _infinite_is_no_bound(cls, bounds: object) -> object:
        if not isinstance(bounds, list | tuple):
            return bounds
        return [None if bound == math.inf else bound for bound in bounds]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        stage_fields = {"stages", "sample", "epochs"} & self.model_fields_set
        if self.fresh is not None and stage_fields:
            raise UsageError(
                f"phase {self.name}: fresh clips are not graded and are used once, so there is no "
                f"{', '.join(sorted(stage_fields))}"
            )
        bounds = [2.0 if bound is None else bound for bound in self.stages]
        if bounds != sorted(bounds):
            raise UsageError(f"phase {self.name}: stages must grow ({list(self.stages)})")
        return self


class CleanSpeechRecipe(Recipe):
    """Clean speech, and how it is degraded during training."""

    manifest: Path = Field(description="manifest (JSONL); its audio is relative to its folder")
    simulation: str = Field(
        default="simulate-train-tiny", description="recipe of mega-asr simulate: file or name"
    )


class SFTRecipe(Recipe):
    """Progressive supervised fine-tuning, from acoustic to semantic."""

    model: str = Field(description="base model, by any name that mega-asr transcribe accepts")
    adapter: Path | None = Field(
        default=None, description="adapter of another run to continue from; None: the base model"
    )
    data: tuple[Path, ...] = Field(
        default=(), description="graded data sets (mega-asr grade), used together"
    )
    held_out_scenarios: tuple[str, ...] = Field(
        default=(),
        description="scenarios whose clips in `data` are not used, to test the adapter on "
        "conditions that it has not met",
    )
    clean: CleanSpeechRecipe | None = Field(
        default=None, description="clean speech for phases with `fresh` clips"
    )
    dev: tuple[Path, ...] = Field(min_length=1, description="graded data sets for validation")
    seed: int = Field(ge=0, lt=2**32, description="seed of every random choice")
    lora: LoraRecipe = LoraRecipe()
    phases: tuple[PhaseRecipe, ...] = Field(min_length=1)
    batch_size: int = Field(
        default=128, gt=0, description="clips in a step, all devices together (8 x 2 GPUs x 8)"
    )
    device_batch_size: int = Field(default=8, gt=0, description="clips in one forward pass")
    weight_decay: float = Field(default=0.01, ge=0)
    gradient_norm: float = Field(default=1.0, gt=0)
    gradient_checkpointing: bool = Field(
        default=False, description="less memory, a third more time"
    )
    checkpoint_steps: int = Field(
        default=200, gt=0, description="steps between checkpoints (adapters and optimizer only)"
    )
    evaluate_steps: int = Field(default=200, gt=0, description="steps between validations")
    evaluate_clips: int = Field(default=400, gt=0, description="dev clips in each validation")
    loader_workers: int = Field(default=4, ge=0, description="processes that decode audio")
    log_steps: int = Field(default=10, gt=0, description="steps between rows of training metrics")
    max_left_out: float = Field(
        default=MAX_LEFT_OUT,
        ge=0,
        le=1,
        description="largest share of the clips that may be left out because they cannot be used",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise UsageError(f"phases: two have the same name ({', '.join(names)})")
        if not self.data and any(phase.fresh is None for phase in self.phases):
            raise UsageError("data: there is none")
        if self.clean is None and any(phase.fresh is not None for phase in self.phases):
            raise UsageError("clean: there is no speech that fresh clips could be made of")
        return self

    def accumulation(self, processes: int) -> int:
        """Return the number of forward passes in a step of one process.

        Args:
            processes: number of processes.

        Raises:
            UsageError: the batch cannot be divided evenly.
        """
        together = self.device_batch_size * processes
        if self.batch_size % together:
            raise UsageError(
                f"batch_size {self.batch_size} is not a multiple of device_batch_size "
                f"{self.device_batch_size} times {processes} processes"
            )
        return self.batch_size // together
