"""The loop of training from scratch.

Everything that a step does is a function of the recipe and of the step's number, so a run that was
killed continues exactly from its last checkpoint (on the same machine and number of processes).
Several processes: `torchrun --nproc-per-node 2 -m megaasr train base RECIPE -o RUN`.

The loop is older than `step_loop.StepLoop` and is not built on it, because its runs could then not
be resumed, nor their metrics compared: its checkpoints also hold the position in the epoch, and
name their parts differently; its rows have other fields in another order; and it averages metrics
in float32, which changes their last digit.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from megaasr.errors import TrainingError
from megaasr.train.base.architecture import build_model
from megaasr.train.base.batches import BatchBuilder, Example, plan_epoch
from megaasr.train.base.feature_store import FeatureStore
from megaasr.train.base.objective import BaseObjective
from megaasr.train.base.phonemes import phonemize
from megaasr.train.base.recipe import BaseRecipe, OptimizerRecipe
from megaasr.train.evaluate import dev_error_rate
from megaasr.train.input_check import InputCheck
from megaasr.train.modes import flushed_denormals
from megaasr.train.processes import own_share
from megaasr.train.processor import build_processor
from megaasr.train.run import MetricsCallback, RunFolder, TrainingResult, ignore_metrics
from megaasr.train.step_loop import LearningRate, checkpoint_is_due, weight_decay_groups
from megaasr.train.tokenizer import train_tokenizer


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a run in its data.

    Attributes:
        step: number of the next step, from 0.
        epoch: number of its epoch, from 0.
        batch: index of its batch in the epoch.
        short_only: whether the epoch has short, single clips only.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    short_only: bool = True


class BaseTrainer:
    """Trains a model from scratch in a run folder; resumes the run if one exists.

    Args:
        recipe: sizes, data and schedule.
        run_dir: run folder; the model is written to `model/` in it.
        on_metrics: called with every row of the metrics, and with the progress of computing
            features (`features`, `of`).

    Raises:
        TrainingError: the corpus is missing, or the folder holds a run of another recipe or corpus.
        SynthesisError: espeak-ng failed.
    """

    def __init__(
        self, recipe: BaseRecipe, run_dir: Path, on_metrics: MetricsCallback = ignore_metrics
    ) -> None:
        self.recipe = recipe
        self._on_metrics = on_metrics
        self._check_inputs()
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.run = RunFolder(
            run_dir, recipe, main=self.accelerator.is_main_process, on_metrics=on_metrics
        )
        set_seed(recipe.seed)
        self._prepare_data()
        self._prepare_model()
        self.position = self._resume()

    def train(self) -> TrainingResult:
        """Train up to the recipe's last step, then write the model."""
        with flushed_denormals():
            self._train()
        if self.accelerator.is_main_process:
            self.run.export(self._unwrapped_objective.model, self.processor)
        self.accelerator.wait_for_everyone()
        return TrainingResult(
            self.run.path / "model", self.run.last_validation(), self.store.left_out
        )

    def _train(self) -> None:
        saved = logged = time.monotonic()
        sums = torch.zeros(4)
        for position, examples in self._schedule():
            if position.step >= self.recipe.steps:
                break
            sums += self._step(position.step, examples)
            self.position = position
            step = position.step + 1
            if step % self.recipe.log_steps == 0:
                now = time.monotonic()
                self._log_training(step, sums, now - logged)
                sums, logged = torch.zeros(4), now
            if step % self.recipe.evaluate_steps == 0 or step == self.recipe.steps:
                self._validate(step)
                logged = time.monotonic()
            is_due = checkpoint_is_due(self.accelerator, saved, self.recipe.checkpoint_s)
            if is_due or step == self.recipe.steps:
                self._save(step)
                saved = time.monotonic()

    def _check_inputs(self) -> None:
        corpus, check = self.recipe.corpus, InputCheck()
        for name in ("train.jsonl", "dev.jsonl"):
            command = f"make corpus (or: mega-asr synthesize synthesize-tiny --output {corpus})"
            check.require_file(corpus, name, command)
        has_phonemes = shutil.which("espeak-ng") or self._phoneme_cache.is_file()
        command = "apt-get install espeak-ng (on Debian or Ubuntu)"
        check.require(bool(has_phonemes), "espeak-ng is not installed", command)
        check.finish()

    @property
    def _phoneme_cache(self) -> Path:
        return self.recipe.corpus / "features" / "phonemes.json"

    def _prepare_data(self) -> None:
        corpus = self.recipe.corpus
        self.run.claim_data(corpus / "train.jsonl")
        # One process computes features and phonemes; the others then find them in the cache.
        with self.accelerator.main_process_first():
            self.store = FeatureStore.open(
                corpus / "train.jsonl",
                corpus / "features",
                self.recipe.architecture.geometry,
                on_progress=lambda done, total: self._on_metrics({"features": done, "of": total}),
            )
            self.store.left_out.require(self.recipe.max_left_out, str(corpus / "train.jsonl"))
            self.run.record_clips(self.store.left_out)
            texts = [clip.utterance.text for clip in self.store.clips]
            self.tokenizer = train_tokenizer(
                sorted(text for text in texts if text), self.recipe.architecture.vocabulary_size
            )
            phonemes = phonemize(texts, self._phoneme_cache)
        symbols = sorted({symbol for row in phonemes for symbol in row})
        numbers = {symbol: number for number, symbol in enumerate(symbols, 1)}
        targets = [[numbers[symbol] for symbol in row] for row in phonemes]
        self._phoneme_count = len(symbols)
        self.builder = BatchBuilder(self.store, targets, self.tokenizer, self.recipe)

    def _prepare_model(self) -> None:
        model = build_model(self.recipe.architecture, self.tokenizer, self.recipe.seed)
        self.processor = build_processor(self.recipe.architecture.geometry, self.tokenizer)
        objective = BaseObjective(model, self._phoneme_count, self.store.geometry)
        # Convolutions take most of the time on a CPU; this layout makes them 1.4 times as fast.
        _use_channels_last(objective)
        groups = weight_decay_groups(objective, self.recipe.optimizer.weight_decay)
        optimizer = torch.optim.AdamW(
            groups, lr=0.0, betas=(0.9, self.recipe.optimizer.beta2), fused=True
        )
        self.objective, self.optimizer = self.accelerator.prepare(objective, optimizer)

    @property
    def _unwrapped_objective(self) -> BaseObjective:
        """The objective without the wrapper of distributed training."""
        objective: BaseObjective = self.accelerator.unwrap_model(self.objective)
        return objective

    def _schedule(self) -> Iterator[tuple[Position, list[Example]]]:
        """Yield (position, examples) from the run's position on, without end."""
        position = self.position
        while True:
            short_only = position.short_only
            batches = plan_epoch(self.store, self.recipe, position.epoch, short_only=short_only)
            if not batches:
                limit = f" of at most {self.recipe.short_first_s} s (short_first_s)"
                raise TrainingError(
                    f"{self.recipe.corpus / 'train.jsonl'} holds no clip"
                    + (limit if short_only else "")
                )
            for index in range(position.batch, len(batches)):
                short_only = position.step < self.recipe.short_first_steps
                if short_only != position.short_only:
                    break
                position = Position(position.step, position.epoch, index, short_only)
                yield position, batches[index]
                position = Position(position.step + 1, position.epoch, index + 1, short_only)
            short_only = position.step < self.recipe.short_first_steps
            position = Position(position.step, position.epoch + 1, 0, short_only)

    def _step(self, step: int, examples: list[Example]) -> torch.Tensor:
        """Run an optimizer step; return (cross-entropy, CTC loss, audio seconds, 1) for the log."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        ctc_only = step < self.recipe.ctc_first_steps
        own = own_share(examples, rank, processes)
        batch = self.builder.build(own, (step, rank), plain=ctc_only).to(self.accelerator.device)
        learning_rate = scheduled_learning_rate(step, self.recipe.steps, self.recipe.optimizer)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        cross_entropy, ctc = self.objective(
            batch.inputs, batch.phonemes, batch.phoneme_lengths, ctc_only=ctc_only
        )
        recipe, progress = self.recipe.optimizer, step / self.recipe.steps
        ctc_weight = recipe.ctc_weight + (recipe.ctc_weight_end - recipe.ctc_weight) * progress
        self.accelerator.backward(cross_entropy + ctc_weight * ctc)
        self.accelerator.clip_grad_norm_(self.objective.parameters(), recipe.gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        losses = [float(cross_entropy.detach()), float(ctc.detach())]
        return torch.tensor([*losses, batch.audio_s * processes, 1.0])

    def _log_training(self, step: int, sums: torch.Tensor, seconds: float) -> None:
        loss, ctc, audio_s, steps = sums.tolist()
        recipe = self.recipe
        self.run.log(
            {
                "step": step,
                "epoch": self.position.epoch,
                "loss": round(loss / steps, 4),
                "ctc": round(ctc / steps, 4),
                "learning_rate": scheduled_learning_rate(step - 1, recipe.steps, recipe.optimizer),
                "audio_s_per_s": round(audio_s / seconds, 1),
                "seconds": round(seconds, 2),
            }
        )

    def _validate(self, step: int) -> None:
        if self.accelerator.is_main_process:
            metrics = dev_error_rate(
                self._unwrapped_objective.model,
                self.processor,
                self.recipe.corpus / "dev.jsonl",
                self.recipe.evaluate_clips,
            )
            self.run.log({"step": step, **metrics})
        self.accelerator.wait_for_everyone()

    def _save(self, step: int) -> None:
        if self.accelerator.is_main_process:
            self.run.save_checkpoint(
                {
                    "objective": self._unwrapped_objective.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "step": step,
                    "epoch": self.position.epoch,
                    "batch": self.position.batch + 1,
                    "short_only": self.position.short_only,
                }
            )
        self.accelerator.wait_for_everyone()

    def _resume(self) -> Position:
        state = self.run.load_checkpoint()
        if state is None:
            return Position(short_only=self.recipe.short_first_steps > 0)
        self._unwrapped_objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        return Position(state["step"], state["epoch"], state["batch"], state["short_only"])


def scheduled_learning_rate(step: int, steps: int, recipe: OptimizerRecipe) -> float:
    """Return the learning rate of a step: linear warm-up, constant, linear decay to zero.

    Args:
        step: number of the step, from 0.
        steps: steps of the whole run.
        recipe: peak learning rate, warm-up and decay.
    """
    schedule = LearningRate(recipe.learning_rate, steps, recipe.warmup_steps, recipe.decay_steps)
    return schedule(step)


def _use_channels_last(objective: BaseObjective) -> None:
    for parameter in objective.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
