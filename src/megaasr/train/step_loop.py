"""The loop that every stage of `small` runs: optimizer steps, metrics, dev scores, checkpoints.

Everything a step does is a function of the recipe and the step's number, so a run that was killed
continues from its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from pydantic import Field
from torch import nn

from megaasr.config import Recipe
from megaasr.train.run import RunFolder
from megaasr.train.sums import Sums

MetricsCallback = Callable[[dict[str, float | int | str]], None]


@dataclass(frozen=True, slots=True)
class LearningRate:
    """Linear warm-up, a constant stretch, then linear decay to zero.

    Attributes:
        peak: of the constant stretch.
        steps: of the whole run.
        warmup_steps: at its start.
        decay_steps: at its end.
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
    """What every stage of `small` says about its loop."""

    seed: int = Field(ge=0, lt=2**32, description="source of every choice")
    learning_rate: float = Field(gt=0, description="of the constant stretch")
    warmup_steps: int = Field(ge=0, description="first steps, linear from zero")
    decay_steps: int = Field(ge=0, description="last steps, linear to zero")
    log_steps: int = Field(gt=0, description="steps between lines of training metrics")
    evaluate_steps: int = Field(gt=0, description="steps between dev scores")
    checkpoint_s: float = Field(gt=0, description="seconds between checkpoints")


@dataclass
class StepLoop:
    """Runs optimizer steps in a run folder.

    Attributes:
        accelerator: of all processes.
        run: the run folder, which holds the last checkpoint.
        module: what is trained, wrapped for distributed training.
        optimizer: of its parameters; the loop sets its learning rate.
        recipe: learning rates, and how often the run reports.
        steps: of the whole run.
        losses: returns the loss of a step and what is logged with it: `weight` and sums over the
            step's examples, which are divided by the sum of the weights; `audio_s` is logged as
            seconds of audio per second.
        evaluate: returns dev scores; called in the main process only.
        on_metrics: called with every line of the metrics file.
        gradient_norm: gradients are scaled down to this norm.
    """

    accelerator: Accelerator
    run: RunFolder
    module: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: LoopRecipe
    steps: int
    losses: Callable[[int], tuple[torch.Tensor, Mapping[str, float]]]
    evaluate: Callable[[], Mapping[str, float]]
    on_metrics: MetricsCallback
    gradient_norm: float = 1.0
    step: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Derive the learning rates."""
        recipe = self.recipe
        self.learning_rate = LearningRate(
            recipe.learning_rate, self.steps, recipe.warmup_steps, recipe.decay_steps
        )

    def train(self) -> None:
        """Continue from the last checkpoint, if there is one, to the last step."""
        self._resume()
        saved = logged = time.monotonic()
        sums = Sums()
        while self.step < self.steps:
            sums.add(self._step())
            last = self.step == self.steps
            if self.step % self.recipe.log_steps == 0 or last:
                self._log_training(sums, time.monotonic() - logged)
                sums, logged = Sums(), time.monotonic()
            if self.step % self.recipe.evaluate_steps == 0 or last:
                self._log_dev_scores()
                logged = time.monotonic()
            if self._is_due(saved) or last:
                self._save()
                saved = time.monotonic()

    def _step(self) -> Mapping[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step) * group.get("lr_scale", 1.0)
        loss, logged = self.losses(self.step)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.module.parameters(), self.gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return logged

    def _log_training(self, sums: Sums, seconds: float) -> None:
        world = self.accelerator.num_processes
        weight = sums.pop("weight", 0.0) or 1.0
        audio_s = sums.pop("audio_s", None)
        row: dict[str, float | int | str] = {"step": self.step}
        row |= {name: round(total / weight, 4) for name, total in sums.items()}
        row |= {"learning_rate": self.learning_rate(self.step - 1), "seconds": round(seconds, 2)}
        if audio_s is not None:
            row["audio_s_per_s"] = round(audio_s * world / seconds, 1)
        self._write(row)

    def _log_dev_scores(self) -> None:
        if self.accelerator.is_main_process:
            was_training = self.module.training
            self.module.train(False)
            self._write({"step": self.step, **self.evaluate()})
            self.module.train(was_training)
        self.accelerator.wait_for_everyone()

    def _write(self, row: dict[str, float | int | str]) -> None:
        if self.accelerator.is_main_process:
            self.run.log(row)
            self.on_metrics(row)

    def _is_due(self, saved: float) -> bool:
        """The main process decides for all: a checkpoint must not catch two steps."""
        due = torch.tensor(float(time.monotonic() - saved >= self.recipe.checkpoint_s))
        return bool(self.accelerator.reduce(due.to(self.accelerator.device), "mean") >= 1.0)

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            module = self.accelerator.unwrap_model(self.module)
            self.run.save_checkpoint(
                {
                    "module": module.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "step": self.step,
                }
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


def weight_decay_groups(module: nn.Module, decay: float) -> list[dict[str, object]]:
    """Return AdamW's parameter groups: decay on matrices, none on biases, norms and embeddings.

    Args:
        module: only its trainable parameters are taken.
        decay: weight decay of the matrices.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            is_matrix = parameter.ndim >= 2 and "embed" not in name
            (matrices if is_matrix else others).append(parameter)
    return [
        {"params": matrices, "weight_decay": decay},
        {"params": others, "weight_decay": 0.0},
    ]
