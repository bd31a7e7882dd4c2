"""DG-WGPO: policy optimisation of a new adapter on the merged A2S-SFT model.

A run folder holds:
    recipe.json, versions.json, data.json   the run and its inputs
    metrics.jsonl     rewards, errors, losses and times; validation on the dev clips
    groups.jsonl      some groups of every log step, sample by sample
    checkpoint.pt     adapter, optimizer, position in the data: enough to resume exactly
    best/             the joined adapter with the best validation so far
    adapter/          the result: A2S-SFT and DG-WGPO joined, for the original base model

The loop is ours and small, on accelerate; loss and reward are pure functions of their own
(`policy_loss`, `rewards`). TRL's trainer would have to be overridden in six places to process audio
at all, and computes features and encoder output once for each copy of a clip
(docs/design/rl-loop.md).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from transformers import get_cosine_schedule_with_warmup

from megaasr.adapter.peft_layout import Adapter, is_adapter, read_adapter
from megaasr.adapter.write import join, write_adapter
from megaasr.model.inputs import InputBuilder
from megaasr.model.qwen3_asr import Qwen3ASR
from megaasr.model.vllm_offline import require_vllm
from megaasr.text.dg_reward import score_batch
from megaasr.train.clips import find_manifest, read_clips, read_usable_clips
from megaasr.train.modes import evaluation_mode
from megaasr.train.optimizer import make_optimizer
from megaasr.train.peft_model import read_trained_adapter, with_adapter
from megaasr.train.rl.group_log import GroupLog
from megaasr.train.rl.groups import Group, GroupSource, Reward, mean_metrics, summarize
from megaasr.train.rl.policy import Policy
from megaasr.train.rl.policy_update import PolicyUpdate
from megaasr.train.rl.prompt_schedule import PromptSchedule
from megaasr.train.rl.recipe import RLRecipe
from megaasr.train.rl.rollout import NativeEngine, RolloutEngine
from megaasr.train.rl.start import load_start
from megaasr.train.rl.vllm_rollout import VllmEngine
from megaasr.train.run import MetricsCallback, RunFolder, TrainingResult, ignore_metrics
from megaasr.train.sums import Sums
from megaasr.train.validation import BestAdapter, Validation

_FAILURES = ("empty", "hallucination", "repetition", "truncated")


@dataclass(slots=True)
class _LoopState:
    """The state of the loop between two steps.

    Attributes:
        step: number of finished steps.
        position: position in the schedule of the clips.
        stale: number of validations since the best one.
        sums: sums of the metrics since the last log step.
    """

    step: int = 0
    position: int = 0
    stale: int = 0
    sums: Sums = field(default_factory=Sums)


class RLTrainer:
    """Trains the robust adapter by policy optimisation; resumes the run if one exists.

    Args:
        recipe: policy, reward, data and base model.
        run_dir: run folder; the adapter is written to `adapter/` in it.
        on_metrics: called with every row of the metrics.
        reward: scores transcripts; None for the reward of DG-WGPO with the recipe's constants.
        make_engine: makes the rollout engine from the model and the builder of its inputs; None for
            the recipe's engine.

    Raises:
        TrainingError: data or adapter are missing, or the folder holds a run of another recipe or
            on other data.
        ModelError: the base model cannot be loaded.
        UsageError: the clips of a step cannot be divided among the processes; or the recipe's
            rollout engine is not installed, does not fit into the memory, or works in one process
            only.
    """

    def __init__(
        self,
        recipe: RLRecipe,
        run_dir: Path,
        on_metrics: MetricsCallback = ignore_metrics,
        *,
        reward: Reward | None = None,
        make_engine: Callable[[Any, InputBuilder], RolloutEngine] | None = None,
    ) -> None:
        cuda = torch.cuda.is_available()
        bf16 = cuda and torch.cuda.is_bf16_supported()
        self.accelerator = Accelerator(cpu=not cuda, mixed_precision="bf16" if bf16 else "no")
        self.recipe = recipe
        self.main = self.accelerator.is_main_process
        self._share = recipe.share(self.accelerator.num_processes)
        if recipe.sampling.engine == "vllm":
            require_vllm()
        self.start = load_start(recipe)
        clips, self.left_out = read_usable_clips(recipe.data, max_left_out=recipe.max_left_out)
        schedule = PromptSchedule(clips, recipe.thin, recipe.seed)
        self.validation = (
            Validation(read_clips(recipe.dev), recipe.evaluate_clips, recipe.max_left_out)
            if self.main
            else None
        )
        set_seed(recipe.seed)
        self.model = with_adapter(self.start.model, recipe.scope, recipe.lora)
        native = self.model.get_base_model()
        if recipe.gradient_checkpointing:
            native.gradient_checkpointing_enable({"use_reentrant": False})
        self.policy = Policy(
            native,
            recipe.sampling.temperature,
            share_prompt=not recipe.gradient_checkpointing,
        )
        tokenizer = self.start.processor.tokenizer
        self.recognizer = Qwen3ASR(recipe.model, native, self.start.processor, batch_size=32)
        builder = self.recognizer.builder
        self.update = PolicyUpdate(
            self.accelerator, self.model, self.policy, builder=builder, recipe=recipe
        )
        self.engine = (make_engine or self._make_engine)(native, builder)
        self.source = GroupSource(
            schedule,
            self.engine,
            decode=lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)),
            reward=reward or partial(score_batch, recipe=recipe.reward),
            recipe=recipe.dynamic,
            seed=recipe.seed,
            geometry=builder.geometry,
        )
        self.run = RunFolder(run_dir, recipe, main=self.main, on_metrics=on_metrics)
        manifests = [find_manifest(path) for path in recipe.data]
        self.run.claim_data(*manifests, self.start.adapter_file)
        self.run.record_clips(self.left_out)
        self.group_log = GroupLog(run_dir / "groups.jsonl")
        self._write_adapter = partial(
            write_adapter,
            base=recipe.model,
            fingerprint=self.start.fingerprint,
            dtype=torch.float32,
        )
        self.best = BestAdapter(run_dir / "best", self._write_adapter, _FAILURES)

    def train(self) -> TrainingResult:
        """Run the steps that are not finished; the result is the best adapter of the run."""
        adapter = self.run.path / "adapter"
        if not is_adapter(adapter):
            try:
                self._train()
            finally:
                self.engine.close()
            if self.main:
                shutil.rmtree(adapter, ignore_errors=True)
                self._write_adapter(read_adapter(self.best.folder), adapter)
            self.accelerator.wait_for_everyone()
        return TrainingResult(adapter, self.best.metrics or {}, self.left_out)

    def _train(self) -> None:
        recipe = self.recipe
        optimizer = make_optimizer(self.policy, recipe.rates.by_group(), recipe.weight_decay)
        updates = recipe.steps * recipe.loss.iterations
        scheduler = get_cosine_schedule_with_warmup(
            optimizer, round(recipe.warmup_ratio * updates), updates
        )
        policy, optimizer = self.accelerator.prepare(self.policy, optimizer)
        state = self._resume(optimizer, scheduler)
        if state.step == 0:
            self._validate(0)
        while state.step < recipe.steps and not self._is_out_of_patience(state):
            batch = self.source.draw(state.position, self._slots(), recipe.batch_size, self._gather)
            sums = self.update(policy, optimizer, scheduler, batch.groups)
            state.step, state.position = state.step + 1, batch.position
            state.sums.add(summarize(batch))
            state.sums.add({"steps": 1, **sums})
            if self._is_time(state, recipe.log_steps):
                self._log_training(state, scheduler.get_last_lr()[0], batch.groups)
                state.sums.clear()
            if self._is_time(state, recipe.evaluate_steps):
                state.stale = 0 if self._validate(state.step) else state.stale + 1
            if self._is_time(state, recipe.checkpoint_steps):
                self._save(state, optimizer, scheduler)

    def _is_time(self, state: _LoopState, interval: int) -> bool:
        return state.step % interval == 0 or state.step == self.recipe.steps

    def _is_out_of_patience(self, state: _LoopState) -> bool:
        return bool(self.recipe.patience) and state.stale >= self.recipe.patience

    def _make_engine(self, model: Any, builder: InputBuilder) -> RolloutEngine:
        if self.recipe.sampling.engine == "vllm":
            return VllmEngine(self.start, self.model, builder, self.recipe)
        return NativeEngine(model, builder, self.recipe.sampling, self.recipe.rollout_batch_size)

    def _slots(self) -> range:
        first = self.accelerator.process_index * self._share
        return range(first, first + self._share)

    def _validate(self, step: int) -> bool:
        """Decode the dev clips; return in all processes whether the adapter is the best so far."""
        is_best = False
        if self.validation is not None:
            with evaluation_mode(self.model):
                metrics = self.validation(self.recognizer)
            self.run.log({"step": step, **metrics})
            is_best = self.best.offer(step, metrics, self._joined_adapter)
        return any(self._gather([int(is_best)]))

    def _joined_adapter(self) -> Adapter:
        return join([self.start.adapter, read_trained_adapter(self.model, "rl")], "rl")

    def _log_training(
        self, state: _LoopState, learning_rate: float, groups: Sequence[Group]
    ) -> None:
        sums_of_processes: list[dict[str, float]] = gather_object([dict(state.sums)])
        if not self.main:
            return
        total = Sums()
        for sums in sums_of_processes:
            total.add(sums)
        steps = total["steps"]
        updates = steps * self.recipe.loss.iterations
        tokens = max(1.0, total["m_seen"])
        row = {
            "step": state.step,
            "steps": self.recipe.steps,
            **mean_metrics(dict(total)),
            "loss": total["m_loss"] / updates,
            "kl": total["m_kl"] / tokens,
            "entropy": total["m_entropy"] / tokens,
            "clip_fraction": total["m_clip_fraction"] / tokens,
            "gradient_norm": total["m_gradient_norm"] / updates,
            "learning_rate": learning_rate,
            "unreadable": total["unreadable"],
            **{k: v / steps for k, v in sorted(total.items()) if k.startswith("s_")},
        }
        self.run.log({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()})
        self.group_log.write(state.step, groups[: self.recipe.dumped_groups])

    def _resume(self, optimizer: Any, scheduler: Any) -> _LoopState:
        """Restore the last checkpoint; return its state, or that of a new run."""
        checkpoint = self.run.load_checkpoint()
        if checkpoint is None:
            return _LoopState()
        parameters = dict(self.policy.named_parameters())
        with torch.no_grad():
            for name, value in checkpoint["adapter"].items():
                parameters[name].copy_(value)
        optimizer.load_state_dict(checkpoint["optimizer"])
        scheduler.load_state_dict(checkpoint["scheduler"])
        if self.main:
            self.run.forget_after(checkpoint["step"])
            self.group_log.forget_after(checkpoint["step"])
        sums = Sums(checkpoint["sums"][self.accelerator.process_index])
        return _LoopState(checkpoint["step"], checkpoint["position"], checkpoint["stale"], sums)

    def _save(self, state: _LoopState, optimizer: Any, scheduler: Any) -> None:
        sums_of_processes = gather_object([dict(state.sums)])
        if self.main:
            self.run.save_checkpoint(
                {
                    "sums": sums_of_processes,
                    "step": state.step,
                    "position": state.position,
                    "stale": state.stale,
                    "adapter": {
                        name: value.detach().cpu()
                        for name, value in self.policy.named_parameters()
                        if value.requires_grad
                    },
                    "optimizer": optimizer.state_dict(),
                    "scheduler": scheduler.state_dict(),
                }
            )
        self.accelerator.wait_for_everyone()

    def _gather(self, values: list[int]) -> list[int]:
        joined: list[int] = gather_object(values)
        return joined
