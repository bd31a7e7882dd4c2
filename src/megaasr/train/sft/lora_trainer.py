"""transformers' Trainer for one stage of fine-tuning: a learning rate for each layer group."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import Trainer, TrainingArguments

from megaasr.corpora.clip_check import NOTHING_READABLE
from megaasr.errors import TrainingError
from megaasr.model.inputs import InputBuilder
from megaasr.train.hf_trainer import LengthSampler
from megaasr.train.optimizer import make_optimizer
from megaasr.train.scopes import LayerGroup


class Collator:
    """Builds a batch from items of `ClipFeatures`.

    Args:
        builder: builds the model's inputs.
        dtype: type of the features.
    """

    def __init__(self, builder: InputBuilder, dtype: torch.dtype) -> None:
        self._builder, self._dtype = builder, dtype

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return the native model's inputs; examples without features are left out.

        Raises:
            TrainingError: no example has features; a step without any would teach nothing.
        """
        builder = self._builder
        readable = [example for example in examples if example["features"] is not None]
        if not readable:
            raise TrainingError(NOTHING_READABLE)
        features = [example["features"] for example in readable]
        rows = [
            builder.example(len(example["features"]), example["text"], example["language"])
            for example in readable
        ]
        batch = {**builder.pad_features(features), **builder.pad_examples(rows)}
        batch["input_features"] = batch["input_features"].to(self._dtype)
        return batch


class LoraTrainer(Trainer):
    """The Trainer of one stage.

    Args:
        model: PEFT model; only its adapter is trainable.
        args: arguments of transformers' Trainer.
        learning_rates: learning rate of each layer group.
        lengths: lengths of the clips of `train_dataset`, in any unit.
        step_clips: clips in a step, all processes together.
        seconds: seconds of each part of the steps (data, forward, backward); the Trainer adds to
            them.
        **options: further arguments of transformers' Trainer.
    """

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        *,
        learning_rates: Mapping[LayerGroup, float],
        lengths: Sequence[float],
        step_clips: int,
        seconds: dict[str, float],
        **options: Any,
    ) -> None:
        super().__init__(model=model, args=args, **options)
        self._learning_rates = learning_rates
        self._lengths, self._step_clips = lengths, step_clips
        self._seconds = seconds

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return LengthSampler(self._lengths, self._step_clips, int(self.args.seed))

    def get_batch_samples(self, *arguments: Any) -> Any:
        """Return the batches of a step, and time it."""
        with self._timed("data"):
            return super().get_batch_samples(*arguments)

    def training_step(self, *arguments: Any, **options: Any) -> Any:
        """Run the forward and the backward pass, and time them."""
        forward = self._seconds.get("forward", 0.0)
        with self._timed("backward"):
            loss = super().training_step(*arguments, **options)
        self._seconds["backward"] -= self._seconds["forward"] - forward
        return loss

    def compute_loss(self, *arguments: Any, **options: Any) -> Any:
        """Run the forward pass, and time it."""
        with self._timed("forward"):
            return super().compute_loss(*arguments, **options)

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        if torch.cuda.is_available():  # GPUs work asynchronously
            torch.cuda.synchronize()
        self._seconds[part] = self._seconds.get(part, 0.0) + time.monotonic() - started

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Return AdamW with a learning rate for each layer group."""
        if self.optimizer is None:
            self.optimizer = make_optimizer(
                model or self.model, self._learning_rates, self.args.weight_decay
            )
        return self.optimizer
