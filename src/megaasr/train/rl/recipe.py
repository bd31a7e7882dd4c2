"""The recipe of DG-WGPO: defaults are the appendix of Mega-ASR's paper (arXiv 2605.19833)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from megaasr.config import Recipe
from megaasr.errors import UsageError
from megaasr.train.lora_recipe import LearningRatesRecipe, LoraRecipe
from megaasr.train.rl.rewards import RewardRecipe
from megaasr.train.scopes import Scope


class SamplingRecipe(Recipe):
    """How transcripts are drawn."""

    samples: int = Field(
        default=12, ge=2, description="transcripts of a clip, K (appendix; main text: 16)"
    )
    temperature: float = Field(
        default=0.5, gt=0, description="the policy is the distribution at this temperature"
    )
    top_p: float = Field(default=0.95, gt=0, le=1)
    top_k: int = Field(default=50, gt=0)
    repetition_penalty: float = Field(
        default=1.08, ge=1, description="on tokens already drawn; 1 for none"
    )
    max_tokens: int = Field(
        default=256, gt=0, description="and not more than the token budget of the clip's length"
    )


class LossRecipe(Recipe):
    """The loss of DAPO (arXiv 2503.14476); with other values, that of GRPO."""

    clip_low: float = Field(default=0.2, gt=0, lt=1)
    clip_high: float = Field(default=0.28, gt=0)
    beta: float = Field(default=0.04, ge=0, description="weight of the KL to the starting model")
    iterations: int = Field(default=2, gt=0, description="optimizer steps on the same samples")
    aggregate: Literal["token", "sample"] = Field(
        default="token", description="token: all tokens of a step alike (DAPO); sample: all samples"
    )


class DynamicRecipe(Recipe):
    """What happens to groups whose rewards do not differ."""

    tries: int = Field(
        default=4,
        ge=0,
        description="a group without spread gives its place to the next clip, so often at most; "
        "then it stays, with advantages of 0: only the KL term acts on it. 0: never",
    )
    overlong_filter: bool = Field(
        default=True,
        description="transcripts cut off by the token budget count neither in the loss nor in "
        "their group's mean and spread",
    )


class ThinRule(Recipe):
    """Keeps a share of the clips whose starting error rate is below a bound."""

    below: float = Field(gt=0)
    keep: float = Field(ge=0, le=1)


class RLRecipe(Recipe):
    """Dual-granularity WER-gated policy optimisation."""

    model: str = Field(description="base: a name that mega-asr transcribe takes")
    adapter: Path | None = Field(
        default=None, description="of A2S-SFT, where training starts; None: the model's own"
    )
    data: tuple[Path, ...] = Field(
        min_length=1, description="data sets graded by the starting model, taken together"
    )
    dev: tuple[Path, ...] = Field(min_length=1, description="graded by the base, for validation")
    seed: int = Field(ge=0, lt=2**32)
    scope: Scope = Field(default="all", description="the layers that are trained")
    lora: LoraRecipe = LoraRecipe(dropout=0.0)
    rates: LearningRatesRecipe = LearningRatesRecipe(encoder=5e-5, aligner=5e-5, llm=5e-5)
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1, description="then cosine, to 0")
    thin: tuple[ThinRule, ...] = Field(
        default=(ThinRule(below=0.1, keep=0.2), ThinRule(below=0.3, keep=0.6)),
        description="of the clips' starting error rates; the first rule that fits decides",
    )
    sampling: SamplingRecipe = SamplingRecipe()
    reward: RewardRecipe = RewardRecipe()
    loss: LossRecipe = LossRecipe()
    dynamic: DynamicRecipe = DynamicRecipe()
    steps: int = Field(gt=0, description="batches of clips; each gives `iterations` updates")
    batch_size: int = Field(
        default=192, gt=0, description="clips in a step, all devices together (4 x 3 GPUs x 16)"
    )
    device_batch_size: int = Field(default=4, gt=0, description="clips in one forward pass")
    rollout_batch_size: int = Field(default=16, gt=0, description="clips in one generation")
    weight_decay: float = Field(default=0.01, ge=0)
    gradient_norm: float = Field(default=1.0, gt=0)
    gradient_checkpointing: bool = Field(default=False, description="less memory, more time")
    checkpoint_steps: int = Field(default=20, gt=0)
    log_steps: int = Field(default=5, gt=0)
    evaluate_steps: int = Field(default=20, gt=0, description="steps between validations")
    evaluate_clips: int = Field(default=400, gt=0, description="dev clips in each")
    patience: int = Field(
        default=0, ge=0, description="validations without a better one that end the run; 0: none"
    )
    dumped_groups: int = Field(default=4, ge=0, description="groups written down at every log step")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        bounds = [rule.below for rule in self.thin]
        if bounds != sorted(bounds):
            raise UsageError(f"thin: the bounds must grow ({bounds})")
        return self

    def share(self, processes: int) -> int:
        """Return how many clips of a step each process takes.

        Raises:
            UsageError: they cannot be shared out evenly.
        """
        if self.batch_size % processes:
            raise UsageError(
                f"batch_size {self.batch_size} is no multiple of {processes} processes"
            )
        return self.batch_size // processes
