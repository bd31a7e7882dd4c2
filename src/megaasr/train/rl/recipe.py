"""The recipe of DG-WGPO; the defaults are those of the Mega-ASR paper's appendix (2605.19833)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from megaasr.config import Recipe
from megaasr.corpora.clip_check import MAX_LEFT_OUT
from megaasr.errors import UsageError
from megaasr.model.engine_limits import Engine
from megaasr.model.interface import SamplingSettings
from megaasr.text.dg_reward import RewardRecipe
from megaasr.train.lora_recipe import LearningRatesRecipe, LoraRecipe
from megaasr.train.scopes import Scope

MIN_VLLM_TEMPERATURE = 0.01
"""vLLM raises lower temperatures to this one."""


class SamplingRecipe(Recipe):
    """How transcripts are sampled."""

    engine: Engine = Field(
        default="transformers",
        description="engine that samples: transformers with the policy itself, or vllm with a copy "
        "beside it, in one process (docs/training.md)",
    )
    samples: int = Field(
        default=12, ge=2, description="transcripts per clip, K (appendix; main text: 16)"
    )
    temperature: float = Field(
        default=0.5, gt=0, description="the policy is the distribution at this temperature"
    )
    top_p: float = Field(default=0.95, gt=0, le=1)
    top_k: int = Field(default=50, gt=0)
    repetition_penalty: float = Field(
        default=1.08, ge=1, description="penalty on tokens that were sampled before; 1 for none"
    )
    max_tokens: int = Field(
        default=256,
        gt=0,
        description="maximum number of tokens; the token budget of the clip's length applies, too",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.engine == "vllm" and self.temperature < MIN_VLLM_TEMPERATURE:
            raise UsageError(
                f"temperature {self.temperature:g}: the engine vllm samples at "
                f"{MIN_VLLM_TEMPERATURE:g} or above"
            )
        return self

    def settings(self) -> SamplingSettings:
        """Return the distribution that tokens are drawn from."""
        return SamplingSettings(
            self.samples, self.temperature, self.top_k, self.top_p, self.repetition_penalty
        )


class LossRecipe(Recipe):
    """The loss of DAPO (arXiv 2503.14476); with other values, that of GRPO."""

    clip_low: float = Field(
        default=0.2, gt=0, lt=1, description="how far below 1 the ratio is clipped"
    )
    clip_high: float = Field(default=0.28, gt=0, description="how far above 1 the ratio is clipped")
    beta: float = Field(default=0.04, ge=0, description="weight of the KL to the starting model")
    iterations: int = Field(default=2, gt=0, description="optimizer steps on the same samples")
    aggregate: Literal["token", "sample"] = Field(
        default="token",
        description="token: all tokens of a step have equal weight (DAPO); sample: all samples do",
    )


class DynamicRecipe(Recipe):
    """Treatment of groups whose rewards are all equal."""

    tries: int = Field(
        default=4,
        ge=0,
        description="how often a group with zero reward variance is replaced by the next clip; "
        "after that it stays, with advantages of 0, so that only the KL term acts on it. 0: never",
    )
    overlong_filter: bool = Field(
        default=True,
        description="exclude transcripts that the token budget cut off from the loss, and from "
        "the mean and the standard deviation of their group",
    )


class SubsampleRule(Recipe):
    """Keeps a share of the clips whose starting error rate is below a bound."""

    below: float = Field(gt=0)
    keep: float = Field(ge=0, le=1)


class RLRecipe(Recipe):
    """Dual-granularity WER-gated policy optimisation."""

    model: str = Field(description="base model, by any name that mega-asr transcribe accepts")
    adapter: Path | None = Field(
        default=None,
        description="adapter of A2S-SFT that training starts from; None: the model's own",
    )
    data: tuple[Path, ...] = Field(
        min_length=1, description="data sets graded by the starting model, used together"
    )
    dev: tuple[Path, ...] = Field(
        min_length=1, description="data sets graded by the base model, for validation"
    )
    seed: int = Field(ge=0, lt=2**32, description="seed of every random choice")
    scope: Scope = Field(default="all", description="layers that are trained")
    lora: LoraRecipe = LoraRecipe(dropout=0.0)
    rates: LearningRatesRecipe = Field(
        default=LearningRatesRecipe(encoder=5e-5, aligner=5e-5, llm=5e-5),
        description="learning rate of each layer group",
    )
    warmup_ratio: float = Field(
        default=0.03,
        ge=0,
        lt=1,
        description="share of the steps with linear warm-up, followed by cosine decay to 0",
    )
    thin: tuple[SubsampleRule, ...] = Field(
        default=(SubsampleRule(below=0.1, keep=0.2), SubsampleRule(below=0.3, keep=0.6)),
        description="subsampling of the clips by their starting error rate; the first rule that "
        "fits applies",
    )
    sampling: SamplingRecipe = SamplingRecipe()
    reward: RewardRecipe = RewardRecipe()
    loss: LossRecipe = LossRecipe()
    dynamic: DynamicRecipe = DynamicRecipe()
    steps: int = Field(gt=0, description="batches of clips; each has `iterations` optimizer steps")
    batch_size: int = Field(
        default=192, gt=0, description="clips in a step, all devices together (4 x 3 GPUs x 16)"
    )
    device_batch_size: int = Field(default=4, gt=0, description="clips in one forward pass")
    rollout_batch_size: int = Field(
        default=16, gt=0, description="clips in one generation of the engine transformers"
    )
    rollout_memory: str | None = Field(
        default=None,
        description="memory for the rollouts' engine vllm beside the policy, such as 8GB, or auto "
        "for all that is free; None: on a GPU half of what is free, on a CPU what 64 transcripts "
        "at once need",
    )
    weight_decay: float = Field(default=0.01, ge=0)
    gradient_norm: float = Field(default=1.0, gt=0)
    gradient_checkpointing: bool = Field(default=False, description="less memory, more time")
    checkpoint_steps: int = Field(default=20, gt=0, description="steps between checkpoints")
    log_steps: int = Field(default=5, gt=0, description="steps between rows of training metrics")
    evaluate_steps: int = Field(default=20, gt=0, description="steps between validations")
    evaluate_clips: int = Field(default=400, gt=0, description="dev clips in each validation")
    patience: int = Field(
        default=0,
        ge=0,
        description="validations in a row without improvement that end the run; 0: never",
    )
    dumped_groups: int = Field(
        default=4, ge=0, description="groups written to groups.jsonl at every log step"
    )
    max_left_out: float = Field(
        default=MAX_LEFT_OUT,
        ge=0,
        le=1,
        description="largest share of the clips that may be left out because they cannot be used",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        bounds = [rule.below for rule in self.thin]
        if bounds != sorted(bounds):
            raise UsageError(f"thin: the bounds must grow ({bounds})")
        return self

    def share(self, processes: int) -> int:
        """Return the number of clips of a step that each process takes.

        Args:
            processes: number of processes.

        Raises:
            UsageError: the clips cannot be divided evenly, or the rollouts' engine works in one
                process only.
        """
        if processes > 1 and self.sampling.engine == "vllm":
            raise UsageError(
                f"sampling.engine=vllm works in one process, not in {processes}; start without "
                "torchrun, or use sampling.engine=transformers"
            )
        if self.batch_size % processes:
            raise UsageError(
                f"batch_size {self.batch_size} is not a multiple of {processes} processes"
            )
        return self.batch_size // processes
