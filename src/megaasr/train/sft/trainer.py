"""A2S-SFT: phases of stages, each phase an adapter on the merged model of those before.

A run's folder:
    recipe.json, versions.json    what is run, on what
    metrics.jsonl                 training and validation, a line each
    PHASE/stage-N/checkpoint-S    of transformers' Trainer: adapter, optimizer, random states
    PHASE/stage-N/best            the adapter of the best validation so far
    PHASE/adapter                 the phase's result; when it is there, the phase is not run again
    adapter                       one adapter over the original base: all phases along the rank
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments, set_seed

from megaasr.adapter.merge import add_to
from megaasr.adapter.peft_layout import WEIGHTS_FILE, Adapter, is_adapter, read_adapter
from megaasr.adapter.write import join, write_adapter
from megaasr.atomic import write_atomically
from megaasr.errors import TrainingError
from megaasr.model.geometry import AudioGeometry
from megaasr.model.hub import find_model_parts
from megaasr.model.loading import choose_device, choose_dtype, read_checkpoint
from megaasr.model.parts import fingerprint, require_parent
from megaasr.model.qwen3_asr import Qwen3ASR
from megaasr.train.clips import read_clips
from megaasr.train.hf_trainer import BetweenSteps
from megaasr.train.peft_model import load_trained, trained_adapter, with_adapter
from megaasr.train.run import RunFolder, last_checkpoint, read_json
from megaasr.train.sft.data import StageData, TrainingData
from megaasr.train.sft.lora_trainer import Collator, LoraTrainer
from megaasr.train.sft.recipe import PhaseRecipe, SFTRecipe
from megaasr.train.validation import Validation, is_better

Report = Callable[[dict[str, Any]], None]
_BEST_FILE = "validation.json"


@dataclass(frozen=True, slots=True)
class _Stage:
    """One stage of a phase: where its files are, and its number for seeds."""

    phase: PhaseRecipe
    number: int
    folder: Path
    seed: int


class SFTTraining:
    """One run of supervised fine-tuning in its folder.

    Args:
        recipe: what to train.
        folder: of the run; a started run is taken up again.
        report: called with every line of the metrics.

    Raises:
        TrainingError: the folder belongs to another recipe, or data are missing.
        ModelError: the base cannot be loaded.
    """

    def __init__(self, recipe: SFTRecipe, folder: Path, report: Report = lambda row: None) -> None:
        self.recipe = recipe
        self.main = int(os.environ.get("RANK", "0")) == 0
        self.processes = int(os.environ.get("WORLD_SIZE", "1"))
        self.accumulation = recipe.accumulation(self.processes)
        self._report = report
        self.run = RunFolder(folder, recipe, main=self.main)
        self.base = find_model_parts(recipe.model).base
        self.data = TrainingData(recipe, AudioGeometry.from_folder(self.base))
        self.start = self._read_start()
        self.run.claim_data(*self.data.manifests, *self._start_files())
        self.fingerprint = fingerprint(self.base)
        self.validation = (
            Validation(read_clips(recipe.dev), recipe.evaluate_clips) if self.main else None
        )

    def train(self) -> Path:
        """Run what is left of the phases; return the folder of the joined adapter."""
        done = [self.start] if self.start is not None else []
        for number, phase in enumerate(self.recipe.phases):
            result = self.run.folder / phase.name / "adapter"
            if not is_adapter(result):
                self._run_phase(number, phase, done, result)
            self._wait()
            done.append(read_adapter(result))
        final = self.run.folder / "adapter"
        if self.main:
            self._write(join(done, "adapter"), final)
        self._wait()
        return final

    def _read_start(self) -> Adapter | None:
        """Return the adapter that training goes on from."""
        folder = self.recipe.adapter
        if folder is None:
            return None
        if not is_adapter(folder):
            raise TrainingError(f"{folder} holds no adapter to go on from")
        adapter = read_adapter(folder)
        require_parent(adapter, self.base)
        return adapter

    def _start_files(self) -> list[Path]:
        return [] if self.recipe.adapter is None else [self.recipe.adapter / WEIGHTS_FILE]

    def _run_phase(
        self, number: int, phase: PhaseRecipe, before: list[Adapter], result: Path
    ) -> None:
        model, processor = read_checkpoint(self.base, choose_dtype(choose_device(None)), "windowed")
        for adapter in before:
            add_to(model, adapter)
        set_seed(self.recipe.seed + 1000 * number)
        model = with_adapter(model, phase.scope, self.recipe.lora)
        name = self.recipe.model
        recognizer = Qwen3ASR(name, model.get_base_model(), processor, batch_size=32)
        for at, data in enumerate(self.data.stages(number, phase)):
            folder = self.run.folder / phase.name / f"stage-{at + 1}"
            stage = _Stage(phase, at, folder, self.recipe.seed + 1000 * number + at)
            self._run_stage(stage, data, model, recognizer)
        if self.main:
            self._write(trained_adapter(model, phase.name), result)

    def _run_stage(self, stage: _Stage, data: StageData, model: Any, recognizer: Qwen3ASR) -> None:
        recipe = self.recipe
        best = stage.folder / "best"
        if (stage.folder / "done").is_file():
            load_trained(model, read_adapter(best))
            return
        lengths = [one.duration_s for one in data.clips]
        seconds: dict[str, float] = {}

        def validate(step: int) -> None:
            if self.validation is None:
                return
            was_training = model.training
            model.eval()
            found = self.validation(recognizer)
            model.train(was_training)
            self._log({**place, "step": step, **found})
            known = read_json(best / _BEST_FILE)
            # A run that was killed may come to the same step again.
            if is_better(found, known) or (known or {}).get("step") == step:
                self._write(trained_adapter(model, stage.phase.name), best)
                write_atomically(best / _BEST_FILE, json.dumps({"step": step, **found}))

        place = {"phase": stage.phase.name, "stage": stage.number + 1, "clips": len(data)}
        trainer = LoraTrainer(
            model,
            self._arguments(stage, len(data)),
            rates=stage.phase.rates.by_group(),
            lengths=lengths,
            step_clips=recipe.batch_size,
            seconds=seconds,
            train_dataset=data,
            data_collator=Collator(recognizer.builder, recognizer.model.dtype),
            callbacks=[
                BetweenSteps(
                    recipe.evaluate_steps,
                    validate,
                    lambda row: self._log({**place, **row}),
                    audio_s=sum(lengths) / len(lengths),
                    step_clips=recipe.batch_size,
                    seconds=seconds,
                )
            ],
        )
        trainer.train(resume_from_checkpoint=last_checkpoint(stage.folder))
        self._wait()
        load_trained(model, read_adapter(best))
        if self.main:
            for old in stage.folder.glob("checkpoint-*"):
                shutil.rmtree(old)
            write_atomically(stage.folder / "done", "")

    def _arguments(self, stage: _Stage, clips: int) -> TrainingArguments:
        recipe = self.recipe
        steps = max(1, round(stage.phase.epochs * clips / recipe.batch_size))
        return TrainingArguments(
            output_dir=str(stage.folder),
            max_steps=steps,
            per_device_train_batch_size=recipe.device_batch_size,
            gradient_accumulation_steps=self.accumulation,
            warmup_steps=round(stage.phase.warmup_ratio * steps),
            lr_scheduler_type="linear",
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.gradient_norm,
            gradient_checkpointing=recipe.gradient_checkpointing,
            bf16=torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
            use_cpu=not torch.cuda.is_available(),
            seed=stage.seed,
            save_strategy="steps",
            save_steps=recipe.checkpoint_steps,
            save_total_limit=2,
            logging_steps=recipe.log_steps,
            dataloader_num_workers=recipe.loader_workers,
            dataloader_persistent_workers=False,
            remove_unused_columns=False,
            label_names=["labels"],
            report_to=[],
            disable_tqdm=True,
            ddp_find_unused_parameters=False,
        )

    def _write(self, adapter: Adapter, folder: Path) -> None:
        write_adapter(
            adapter,
            folder,
            base=self.recipe.model,
            fingerprint=self.fingerprint,
            dtype=torch.float32,
        )

    def _log(self, row: dict[str, Any]) -> None:
        if self.main:
            self.run.log(row)
            self._report(row)

    def _wait(self) -> None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.barrier()
