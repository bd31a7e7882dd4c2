"""The training loop of the stages of `small`: optimizer steps, metrics, validation, checkpoints.

Everything that a step does is a function of the recipe and of the step's number, so a run that was
killed continues from its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from pydantic import Field
from torch import nn

from megaasr.config import Recipe
from megaasr.train.modes import evaluation_mode
from megaasr.train.run import RunFolder
from megaasr.train.sums import Sums


@dataclass(frozen=True, slots=True)
class LearningRate:
    """A learning rate with linear warm-up, a constant phase, and linear decay to zero.

    Attributes:
        peak: learning rate of the constant phase.
        steps: steps of the whole run.
        warmup_steps: first steps, in which the rate rises.
        decay_steps: last steps, in which the rate falls.
    """

    peak: float
    steps: int
    warmup_steps: int
    decay_steps: int

    def __call__(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        warmup = min(1.0, (step + 1) / max(1, self.warmup_steps))
        decay = min(1.0, (self.steps - step) / max(1, self.decay_steps))
        return self.peak * min(warmup, decay)


class LoopRecipe(Recipe):
    """The fields of a recipe that control the loop."""

    seed: int = Field(ge=0, lt=2**32, description="seed of every random choice")
    learning_rate: float = Field(gt=0, description="learning rate of the constant phase")
    warmup_steps: int = Field(ge=0, description="first steps: the learning rate rises from zero")
    decay_steps: int = Field(ge=0, description="last steps: the learning rate falls to zero")
    log_steps: int = Field(gt=0, description="steps between rows of training metrics")
    evaluate_steps: int = Field(gt=0, description="steps between validations")
    checkpoint_s: float = Field(gt=0, description="seconds between checkpoints")


@dataclass
class StepLoop:
    """Runs optimizer steps in a run folder.

    Attributes:
        accelerator: accelerator of the run; it knows all processes.
        run: run folder, which holds the last checkpoint.
        module: module to train, wrapped for distributed training.
        optimizer: optimizer of the module's parameters; the loop sets its learning rate.
        recipe: learning rates, and the intervals of logging, validation and checkpoints.
        steps: steps of the whole run.
        losses: returns for a step the loss to minimise and the values to log. These are sums over
            the examples of the step, and are divided by the sum of `weight`; `audio_s` is logged as
            seconds of audio per second.
        evaluate: returns validation metrics; called in the main process only.
        gradient_norm: maximum norm of the gradients; larger ones are scaled down to it.
        lr_scale: returns the factor on the learning rate of a parameter group in a step.
        milestones: steps whose checkpoints are kept, as `checkpoint-STEP.pt`.
        step: number of finished steps.
    """

    accelerator: Accelerator
    run: RunFolder
    module: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: LoopRecipe
    steps: int
    losses: Callable[[int], tuple[torch.Tensor, Mapping[str, float]]]
    evaluate: Callable[[], Mapping[str, float]]
    gradient_norm: float = 1.0
    lr_scale: Callable[[int, Mapping[str, Any]], float] = lambda step, group: 1.0
    milestones: frozenset[int] = frozenset()
    step: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Derive the learning rate."""
        recipe = self.recipe
        self.learning_rate = LearningRate(
            recipe.learning_rate, self.steps, recipe.warmup_steps, recipe.decay_steps
        )

    def train(self) -> None:
        """Train up to the last step, from the last checkpoint on if there is one."""
        self._resume()
        saved = logged = time.monotonic()
        sums = Sums()
        while self.step < self.steps:
            sums.add(self._step())
            is_last = self.step == self.steps
            if self.step % self.recipe.log_steps == 0 or is_last:
                self._log_training(sums, time.monotonic() - logged)
                sums, logged = Sums(), time.monotonic()
            if self.step % self.recipe.evaluate_steps == 0 or is_last:
                self._validate()
                logged = time.monotonic()
            is_milestone = self.step in self.milestones
            due = checkpoint_is_due(self.accelerator, saved, self.recipe.checkpoint_s)
            if is_last or is_milestone or due:
                self._save(keep=is_milestone)
                saved = time.monotonic()

    def _step(self) -> Mapping[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step) * self.lr_scale(self.step, group)
        loss, values = self.losses(self.step)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.module.parameters(), self.gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return values

    def _log_training(self, sums: Sums, seconds: float) -> None:
        weight = sums.pop("weight", 0.0) or 1.0
        audio_s = sums.pop("audio_s", None)
        row: dict[str, float | int] = {"step": self.step}
        row |= {name: round(total / weight, 4) for name, total in sums.items()}
        row |= {"learning_rate": self.learning_rate(self.step - 1), "seconds": round(seconds, 2)}
        if audio_s is not None:
            processes = self.accelerator.num_processes
            row["audio_s_per_s"] = round(audio_s * processes / seconds, 1)
        self.run.log(row)

    def _validate(self) -> None:
        if self.accelerator.is_main_process:
            with evaluation_mode(self.module):
                self.run.log({"step": self.step, **self.evaluate()})
        self.accelerator.wait_for_everyone()

    def _save(self, *, keep: bool) -> None:
        if self.accelerator.is_main_process:
            module = self.accelerator.unwrap_model(self.module)
            self.run.save_checkpoint(
                {
                    "module": module.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "step": self.step,
                },
                keep_as=f"checkpoint-{self.step}.pt" if keep else None,
            )
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        state = self.run.load_checkpoint()
        if state is None:
            return
        self.accelerator.unwrap_model(self.module).load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.run.forget_after(self.step)


def checkpoint_is_due(accelerator: Accelerator, saved: float, interval_s: float) -> bool:
    """Tell all processes alike whether it is time for a checkpoint.

    It is time if all processes think so: they must save the same step.

    Args:
        accelerator: accelerator of the run.
        saved: time of the last checkpoint, as `time.monotonic` gave it.
        interval_s: seconds between checkpoints.
    """
    due = torch.tensor(float(time.monotonic() - saved >= interval_s))
    return bool(accelerator.reduce(due.to(accelerator.device), "mean") >= 1.0)


def weight_decay_groups(module: nn.Module, decay: float) -> list[dict[str, object]]:
    """Return AdamW's parameter groups: decay on matrices, none on biases, norms and embeddings.

    Args:
        module: module whose trainable parameters are grouped.
        decay: weight decay of the matrices.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            (matrices if is_matrix(name, parameter) else others).append(parameter)
    return [
        {"params": matrices, "weight_decay": decay},
        {"params": others, "weight_decay": 0.0},
    ]


def is_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Tell whether a parameter is a weight matrix: no bias, norm or embedding."""
    return parameter.ndim >= 2 and "embed" not in name
