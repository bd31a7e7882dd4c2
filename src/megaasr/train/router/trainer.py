"""Trains a router of the released architecture.

Its label is clean or degraded, or which branch of the model makes fewer errors on a clip.

A run folder holds:
    recipe.json, versions.json, data.json   the run and its inputs
    metrics.jsonl          training and validation, one row per line
    checkpoint-S           of transformers' Trainer
    router.safetensors     the router with the best validation so far, in the released layout
    results.json           its metrics on dev
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import Trainer, TrainingArguments, set_seed

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.errors import TrainingError
from megaasr.route.classifier import (
    AudioQualityClassifier,
    RouterSizes,
    read_classifier,
    write_classifier,
)
from megaasr.route.router import Router
from megaasr.train.clips import find_manifest
from megaasr.train.hf_trainer import LengthSampler, MetricsAndValidation, last_checkpoint
from megaasr.train.input_check import InputCheck
from megaasr.train.modes import evaluation_mode
from megaasr.train.router.data import (
    LabelledClip,
    RouterClips,
    balance_labels,
    collate,
    label_better_branch,
    oversample_by_error_gap,
    read_labelled,
    read_pairs,
    usable_clips,
)
from megaasr.train.router.metrics import (
    classification_metrics,
    hard_negative_accuracy,
    routed_error_rates,
)
from megaasr.train.router.operating_point import keep_clean
from megaasr.train.router.recipe import RouterRecipe
from megaasr.train.run import (
    MetricsCallback,
    RunFolder,
    TrainingResult,
    ignore_metrics,
    read_json,
)

ROUTER_FILE, RESULTS_FILE = "router.safetensors", "results.json"


class _Objective(nn.Module):
    """The network and its loss, in the form that transformers' Trainer expects."""

    def __init__(self, network: AudioQualityClassifier, smoothing: float) -> None:
        super().__init__()
        self.network, self._smoothing = network, smoothing

    def forward(self, samples: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.network(samples)
        loss = functional.cross_entropy(logits, labels, label_smoothing=self._smoothing)
        return {"loss": loss, "logits": logits}


class _LengthBatchedTrainer(Trainer):
    """transformers' Trainer with clips of similar length in a batch."""

    def __init__(self, *, lengths: Sequence[float], **options: Any) -> None:
        super().__init__(**options)
        self._lengths = lengths

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthSampler:
        size = self.args.per_device_train_batch_size * self.args.world_size
        return LengthSampler(self._lengths, size, int(self.args.seed))


class RouterTrainer:
    """Trains a router in a run folder; resumes the run if one exists.

    The best router has the highest accuracy on dev at threshold 0.5; ties go to the higher AUC. If
    the label is `degraded`, both labels are balanced in dev.

    Args:
        recipe: data, label and network.
        run_dir: run folder; the router is written to `router.safetensors` in it.
        on_metrics: called with every row of the metrics.

    Raises:
        TrainingError: data are missing or unusable, or the folder holds a run of another recipe or
            on other data.
    """

    def __init__(
        self, recipe: RouterRecipe, run_dir: Path, on_metrics: MetricsCallback = ignore_metrics
    ) -> None:
        _check_inputs(recipe)
        self.recipe = recipe
        self._dev_pairs, dev_left_out = usable_clips(read_pairs(recipe.dev_pairs))
        dev_left_out.require(recipe.max_left_out, "dev_pairs")
        self._clips, self._dev, self._clean = self._read_clips()
        if not self._dev:
            raise TrainingError(
                "both branches have the same errors on every dev clip: there is no label"
            )
        self.run = RunFolder(run_dir, recipe, on_metrics=on_metrics)
        self.run.claim_data(*_manifests(recipe))
        self.run.record_clips(self.left_out)
        set_seed(recipe.seed)
        network = AudioQualityClassifier(RouterSizes(**recipe.sizes.model_dump()), recipe.dropout)
        self._objective = _Objective(network, recipe.label_smoothing)
        self._steps = max(1, round(recipe.epochs * len(self._clips) / recipe.batch_size))

    @property
    def router_file(self) -> Path:
        """File of the best router."""
        return self.run.path / ROUTER_FILE

    def train(self) -> TrainingResult:
        """Train up to the last step; the result is the best router of the run."""
        trainer = self._make_trainer()
        checkpoint = last_checkpoint(self.run.path)
        if self.router_file.is_file() and self._best_metrics() is None:  # a user deleted the file
            self._write_metrics(self._evaluate(Router.load(self.router_file), self._steps))
        self.run.forget_after(-1 if checkpoint is None else int(checkpoint.rpartition("-")[2]))
        trainer.train(resume_from_checkpoint=checkpoint)
        if not self.router_file.is_file():  # a user deleted it; the last weights are left
            self._validate(self._steps)
        if self._clean and self.recipe.clean_share:
            self._keep_clean()
        return TrainingResult(self.router_file, self._best_metrics() or {}, self.left_out)

    def _read_clips(self) -> tuple[list[LabelledClip], list[LabelledClip], list[LabelledClip]]:
        """Return the training clips, the dev clips, and the clean ones among the latter."""
        recipe = self.recipe
        if recipe.label == "better":
            pairs, self.left_out = usable_clips(read_pairs(recipe.pairs))
            self.left_out.require(recipe.max_left_out, "pairs")
            return oversample_by_error_gap(pairs), label_better_branch(self._dev_pairs), []
        dev, dev_left_out = usable_clips(
            read_labelled(recipe.dev_clean, recipe.dev_degraded, recipe.held_out_scenarios)
        )
        dev_left_out.require(recipe.max_left_out, "dev_clean and dev_degraded")
        labelled, self.left_out = usable_clips(
            read_labelled(recipe.clean, recipe.degraded, recipe.held_out_scenarios)
        )
        self.left_out.require(recipe.max_left_out, "clean and degraded")
        clips = balance_labels(labelled, recipe.seed)
        clean = [clip for clip in dev if not clip.robust]
        return clips, balance_labels(dev, recipe.seed), clean

    def _make_trainer(self) -> Trainer:
        recipe, clips = self.recipe, self._clips
        return _LengthBatchedTrainer(
            model=self._objective,
            args=_arguments(recipe, self.run.path, self._steps),
            lengths=[clip.duration_s for clip in clips],
            train_dataset=RouterClips(clips, recipe),
            data_collator=collate,
            callbacks=[
                MetricsAndValidation(
                    recipe.evaluate_steps,
                    self._validate,
                    self.run.log,
                    audio_s=sum(clip.duration_s for clip in clips) / len(clips),
                    step_clips=recipe.batch_size,
                )
            ],
        )

    def _validate(self, step: int) -> None:
        with evaluation_mode(self._objective.network):
            metrics = self._evaluate(Router(self._objective.network), step)
        self.run.log(metrics)
        best = self._best_metrics() if self.router_file.is_file() else None
        if best is None or _rank(metrics) > _rank(best):
            write_classifier(self.router_file, self._objective.network)
            self._write_metrics(metrics)

    def _keep_clean(self) -> None:
        """Shift the probabilities of the best router; nothing is left to do after a resumption."""
        network = read_classifier(self.router_file)
        shift = keep_clean(network, self._clean, self.recipe.clean_share)
        if shift:
            step = int((self._best_metrics() or {}).get("step", self._steps))
            metrics = {**self._evaluate(Router(network), step), "log_odds_shift": round(-shift, 4)}
            write_classifier(self.router_file, network)
            self._write_metrics(metrics)

    def _evaluate(self, router: Router, step: int) -> dict[str, Any]:
        return {
            "step": step,
            **classification_metrics(router, self._dev),
            **hard_negative_accuracy(router, self._clean, self.recipe.seed),
            **routed_error_rates(router, self._dev_pairs),
        }

    def _best_metrics(self) -> dict[str, Any] | None:
        return read_json(self.run.path / RESULTS_FILE)

    def _write_metrics(self, metrics: dict[str, Any]) -> None:
        write_atomically(self.run.path / RESULTS_FILE, strict_json.dumps(metrics, indent=1) + "\n")


def _check_inputs(recipe: RouterRecipe) -> None:
    """Raise a TrainingError that names all missing inputs and the commands that make them."""
    check = InputCheck()
    if recipe.label == "degraded":
        synthesize = "mega-asr synthesize or mega-asr manifest"
        simulate = "mega-asr simulate corpus MANIFEST --output FOLDER"
        check.require_data_sets("clean", recipe.clean, synthesize)
        check.require_data_sets("degraded", recipe.degraded, simulate)
        check.require_data_sets("dev_clean", recipe.dev_clean, synthesize)
        check.require_data_sets("dev_degraded", recipe.dev_degraded, simulate)
    grade = "mega-asr grade CLIPS --model MODEL"
    for field, pairs in recipe.used_pairs.items():
        base, robust = [pair.base for pair in pairs], [pair.robust for pair in pairs]
        check.require_data_sets(f"{field}.base", base, f"{grade} --output FOLDER")
        with_adapter = f"{grade} --adapter ADAPTER --output FOLDER"
        check.require_data_sets(f"{field}.robust", robust, with_adapter)
    check.finish()


def _manifests(recipe: RouterRecipe) -> list[Path]:
    """Return the manifests that the result depends on."""
    data_sets: list[Path] = []
    if recipe.label == "degraded":
        fields = (recipe.clean, recipe.degraded, recipe.dev_clean, recipe.dev_degraded)
        data_sets = [path for paths in fields for path in paths]
    pairs = [pair for pairs in recipe.used_pairs.values() for pair in pairs]
    graded = (path for pair in pairs for path in (pair.base, pair.robust))
    return [find_manifest(path) for path in (*data_sets, *graded)]


def _rank(metrics: dict[str, Any]) -> tuple[float, float]:
    auc = metrics["auc"]  # null or NaN if the clips are all clean or all degraded
    return float(metrics["accuracy"]), 0.0 if auc is None or math.isnan(auc) else float(auc)


def _arguments(recipe: RouterRecipe, folder: Path, steps: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup_steps=round(recipe.warmup_ratio * steps),
        lr_scheduler_type="cosine",
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.gradient_norm,
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
        seed=recipe.seed,
        save_strategy="steps",
        save_steps=recipe.checkpoint_steps,
        save_total_limit=2,
        logging_steps=recipe.log_steps,
        dataloader_num_workers=recipe.loader_workers,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to=[],
        disable_tqdm=True,
    )
