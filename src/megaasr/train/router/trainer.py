"""Train a router: the released architecture, on clean against degraded clips, or on which branch
of the model hears a clip better.

A run's folder: recipe.json, versions.json, metrics.jsonl, checkpoint-S (of transformers' Trainer),
router.safetensors (the best so far, in the released layout) and results.json (its metrics on dev).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import Trainer, TrainingArguments, set_seed

from megaasr.atomic import write_atomically
from megaasr.errors import TrainingError
from megaasr.route.classifier import AudioQualityClassifier, RouterSizes, write_classifier
from megaasr.route.router import Router
from megaasr.train.clips import listing_of
from megaasr.train.hf_trainer import BetweenSteps, LengthSampler
from megaasr.train.router.data import (
    RouterClips,
    as_often_as_it_matters,
    balanced,
    collate,
    read_labelled,
    read_pairs,
    which_is_better,
)
from megaasr.train.router.metrics import as_classifier, hard_negatives, routed_words
from megaasr.train.router.recipe import RouterRecipe
from megaasr.train.run import RunFolder, last_checkpoint, read_json

FILE, RESULTS_FILE = "router.safetensors", "results.json"
Report = Callable[[dict[str, Any]], None]


class _Objective(nn.Module):
    """The network and its loss, as the trainer wants them."""

    def __init__(self, network: AudioQualityClassifier, smoothing: float) -> None:
        super().__init__()
        self.network, self._smoothing = network, smoothing

    def forward(self, samples: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.network(samples)
        loss = functional.cross_entropy(logits, labels, label_smoothing=self._smoothing)
        return {"loss": loss, "logits": logits}


class _Trainer(Trainer):
    """With clips of like length in a batch."""

    def __init__(self, *, lengths: Sequence[float], **options: Any) -> None:
        super().__init__(**options)
        self._lengths = lengths

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthSampler:
        size = self.args.per_device_train_batch_size * self.args.world_size
        return LengthSampler(self._lengths, size, int(self.args.seed))


def train_router(
    recipe: RouterRecipe, folder: Path, report: Report = lambda row: None
) -> dict[str, float]:
    """Train a router, or go on; return the metrics of the best checkpoint on dev.

    The best is the one with the highest accuracy at threshold 0.5 over dev, where both labels count
    the same if the label is `degraded`; of equals the one with the higher AUC.

    Args:
        recipe: what to train.
        folder: of the run.
        report: called with every line of the metrics.

    Raises:
        TrainingError: the folder belongs to another recipe, or data are missing.
    """
    run = RunFolder(folder, recipe)
    run.claim_data(*_listings(recipe))
    dev_pairs = read_pairs(recipe.dev_pairs)
    if recipe.label == "better":
        clips, dev = as_often_as_it_matters(read_pairs(recipe.pairs)), which_is_better(dev_pairs)
        clean = []
    else:
        known = read_labelled(recipe.dev_clean, recipe.dev_degraded)
        clips = balanced(read_labelled(recipe.clean, recipe.degraded), recipe.seed)
        dev, clean = balanced(known, recipe.seed), [one for one in known if not one.robust]
    if not dev:
        raise TrainingError(
            "both branches have the same errors on every dev clip: nothing to judge"
        )
    set_seed(recipe.seed)
    sizes = RouterSizes(**recipe.sizes.model_dump())
    objective = _Objective(AudioQualityClassifier(sizes, recipe.dropout), recipe.label_smoothing)
    results = folder / RESULTS_FILE

    def log(row: dict[str, Any]) -> None:
        run.log(row)
        report(row)

    def judged(router: Router, step: int) -> dict[str, Any]:
        return {
            "step": step,
            **as_classifier(router, dev),
            **hard_negatives(router, clean, recipe.seed),
            **routed_words(router, dev_pairs),
        }

    def validate(step: int) -> None:
        network = objective.network.eval()
        found = judged(Router(network), step)
        network.train()
        log(found)
        best = read_json(results) if (folder / FILE).is_file() else None
        if best is None or _rank(found) > _rank(best):
            write_classifier(folder / FILE, network)
            write_atomically(results, json.dumps(found, indent=1) + "\n")

    steps = max(1, round(recipe.epochs * len(clips) / recipe.batch_size))
    mean_s = sum(one.duration_s for one in clips) / len(clips)
    trainer = _Trainer(
        model=objective,
        args=_arguments(recipe, folder, steps),
        lengths=[one.duration_s for one in clips],
        train_dataset=RouterClips(clips, recipe),
        data_collator=collate,
        callbacks=[
            BetweenSteps(
                recipe.evaluate_steps, validate, log, audio_s=mean_s, step_clips=recipe.batch_size
            )
        ],
    )
    checkpoint = last_checkpoint(folder)
    if (folder / FILE).is_file() and not results.is_file():  # somebody deleted it
        kept = judged(Router.load(folder / FILE), steps)
        write_atomically(results, json.dumps(kept, indent=1) + "\n")
    run.forget_after(-1 if checkpoint is None else int(checkpoint.rpartition("-")[2]))
    trainer.train(resume_from_checkpoint=checkpoint)
    if not (folder / FILE).is_file():  # the same with the weights; the last ones are left
        validate(steps)
    found: dict[str, float] = json.loads(results.read_text(encoding="utf-8"))
    return found


def _listings(recipe: RouterRecipe) -> list[Path]:
    """Return the manifests that decide about the result."""
    sets: list[Path] = []
    pairs = [*recipe.dev_pairs]
    if recipe.label == "better":
        pairs = [*recipe.pairs, *pairs]
    else:
        sets = [*recipe.clean, *recipe.degraded, *recipe.dev_clean, *recipe.dev_degraded]
    graded = (one for pair in pairs for one in (pair.base, pair.robust))
    return [listing_of(one) for one in (*sets, *graded)]


def _rank(found: dict[str, Any]) -> tuple[float, float]:
    return float(found["accuracy"]), float(found["auc"])


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
