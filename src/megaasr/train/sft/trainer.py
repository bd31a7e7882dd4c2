"""A2S-SFT: phases of stages; each phase trains an adapter on the merged model of those before it.

A run folder holds:
    recipe.json, versions.json, data.json    the run and its inputs
    metrics.jsonl                 training and validation, one row per line
    PHASE/stage-N/checkpoint-S    of transformers' Trainer: adapter, optimizer, random states
    PHASE/stage-N/best            the adapter with the best validation so far
    PHASE/stage-N/done            an empty file, once the stage is finished
    PHASE/adapter                 the phase's result; if it exists, the phase is finished
    adapter                       one adapter for the base model: all phases, joined along the rank
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments, set_seed

from megaasr.adapter.merge import merge_into
from megaasr.adapter.peft_layout import WEIGHTS_FILE, Adapter, is_adapter, read_adapter
from megaasr.adapter.write import join, write_adapter
from megaasr.atomic import write_atomically
from megaasr.model.geometry import AudioGeometry
from megaasr.model.hub import find_model_parts
from megaasr.model.loading import choose_device, choose_dtype, read_checkpoint
from megaasr.model.parts import fingerprint, require_parent
from megaasr.model.qwen3_asr import Qwen3ASR
from megaasr.train.clips import read_clips
from megaasr.train.hf_trainer import MetricsAndValidation, last_checkpoint
from megaasr.train.modes import evaluation_mode
from megaasr.train.peft_model import load_trained_adapter, read_trained_adapter, with_adapter
from megaasr.train.processes import is_main_process, process_count
from megaasr.train.run import MetricsCallback, RunFolder, TrainingResult, ignore_metrics
from megaasr.train.sft.data import StageData, TrainingData, require_inputs
from megaasr.train.sft.lora_trainer import Collator, LoraTrainer
from megaasr.train.sft.recipe import PhaseRecipe, SFTRecipe
from megaasr.train.validation import BestAdapter, Validation


@dataclass(frozen=True, slots=True)
class _Stage:
    """One stage of a phase.

    Attributes:
        phase: recipe of the phase.
        number: number of the stage in the phase, from 1.
        folder: folder of the stage.
        seed: seed of the stage's random choices.
    """

    phase: PhaseRecipe
    number: int
    folder: Path
    seed: int


class SFTTrainer:
    """Trains the robust adapter by supervised fine-tuning; resumes the run if one exists.

    Args:
        recipe: phases, data and base model.
        run_dir: run folder; the adapter is written to `adapter/` in it.
        on_metrics: called with every row of the metrics.

    Raises:
        TrainingError: data or adapter are missing, or the folder holds a run of another recipe or
            on other data.
        ModelError: the base model cannot be loaded.
        UsageError: the batch cannot be divided among the processes, or the simulation of the fresh
            clips cannot be used.
    """

    def __init__(
        self, recipe: SFTRecipe, run_dir: Path, on_metrics: MetricsCallback = ignore_metrics
    ) -> None:
        self.recipe = recipe
        self.main = is_main_process()
        self.accumulation = recipe.accumulation(process_count())
        require_inputs(recipe)
        self.base = find_model_parts(recipe.model).base
        self.data = TrainingData(recipe, AudioGeometry.from_folder(self.base))
        self.data.open_sources()
        self.start = self._read_start()
        self.validation = (
            Validation(read_clips(recipe.dev), recipe.evaluate_clips, recipe.max_left_out)
            if self.main
            else None
        )
        self.run = RunFolder(run_dir, recipe, main=self.main, on_metrics=on_metrics)
        start_files = [] if recipe.adapter is None else [recipe.adapter / WEIGHTS_FILE]
        self.run.claim_data(*self.data.manifests, *start_files)
        self.run.record_clips(self.data.left_out)
        self._write_adapter = partial(
            write_adapter,
            base=recipe.model,
            fingerprint=fingerprint(self.base),
            dtype=torch.float32,
        )

    def train(self) -> TrainingResult:
        """Run the phases that are not finished, then join the adapters of all phases."""
        adapters = [self.start] if self.start is not None else []
        for number, phase in enumerate(self.recipe.phases):
            folder = self.run.path / phase.name / "adapter"
            if not is_adapter(folder):
                self._run_phase(number, adapters, folder)
            self._wait()
            adapters.append(read_adapter(folder))
        result = self.run.path / "adapter"
        if self.main:
            self._write_adapter(join(adapters, "adapter"), result)
        self._wait()
        last_phase = len(self.recipe.phases) - 1
        last_stage = self._stage(last_phase, len(self.data.stages(last_phase)) - 1)
        metrics = self._best(last_stage).metrics or {}
        return TrainingResult(result, metrics, self.data.left_out)

    def _read_start(self) -> Adapter | None:
        """Return the adapter that training starts from; None to start from the base model."""
        if self.recipe.adapter is None:
            return None
        adapter = read_adapter(self.recipe.adapter)
        require_parent(adapter, self.base)
        return adapter

    def _run_phase(self, number: int, earlier: list[Adapter], result: Path) -> None:
        phase = self.recipe.phases[number]
        model, processor = read_checkpoint(self.base, choose_dtype(choose_device(None)), "windowed")
        for adapter in earlier:
            merge_into(model, adapter)
        set_seed(self.recipe.seed + 1000 * number)
        model = with_adapter(model, phase.scope, self.recipe.lora)
        native = model.get_base_model()
        recognizer = Qwen3ASR(self.recipe.model, native, processor, batch_size=32)
        for index, data in enumerate(self.data.stages(number)):
            self._run_stage(self._stage(number, index), data, model, recognizer)
        if self.main:
            self._write_adapter(read_trained_adapter(model, phase.name), result)

    def _stage(self, phase: int, index: int) -> _Stage:
        recipe = self.recipe.phases[phase]
        folder = self.run.path / recipe.name / f"stage-{index + 1}"
        return _Stage(recipe, index + 1, folder, self.recipe.seed + 1000 * phase + index)

    def _best(self, stage: _Stage) -> BestAdapter:
        return BestAdapter(stage.folder / "best", self._write_adapter)

    def _run_stage(self, stage: _Stage, data: StageData, model: Any, recognizer: Qwen3ASR) -> None:
        best, done = self._best(stage), stage.folder / "done"
        is_done = done.is_file()
        if not is_done:
            trainer = self._make_trainer(stage, data, model, recognizer)
            trainer.train(resume_from_checkpoint=last_checkpoint(stage.folder))
            self._wait()
        load_trained_adapter(model, read_adapter(best.folder))
        if self.main and not is_done:
            for checkpoint in stage.folder.glob("checkpoint-*"):
                shutil.rmtree(checkpoint)
            write_atomically(done, "")

    def _make_trainer(
        self, stage: _Stage, data: StageData, model: Any, recognizer: Qwen3ASR
    ) -> LoraTrainer:
        recipe, best = self.recipe, self._best(stage)
        stage_fields = {"phase": stage.phase.name, "stage": stage.number, "clips": len(data)}
        lengths = [clip.duration_s for clip in data.clips]
        seconds: dict[str, float] = {}

        def validate(step: int) -> None:
            if self.validation is None:
                return
            with evaluation_mode(model):
                metrics = self.validation(recognizer)
            self.run.log({**stage_fields, "step": step, **metrics})
            best.offer(step, metrics, lambda: read_trained_adapter(model, stage.phase.name))

        return LoraTrainer(
            model,
            self._arguments(stage, len(data)),
            learning_rates=stage.phase.rates.by_group(),
            lengths=lengths,
            step_clips=recipe.batch_size,
            seconds=seconds,
            train_dataset=data,
            data_collator=Collator(recognizer.builder, recognizer.model.dtype),
            callbacks=[
                MetricsAndValidation(
                    recipe.evaluate_steps,
                    validate,
                    lambda row: self.run.log({**stage_fields, **row}),
                    audio_s=sum(lengths) / len(lengths),
                    step_clips=recipe.batch_size,
                    seconds=seconds,
                )
            ],
        )

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

    def _wait(self) -> None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.barrier()
