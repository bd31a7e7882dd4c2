"""DG-WGPO: policy optimisation of a new adapter on the merged A2S-SFT model.

A run's folder:
    recipe.json, versions.json, data.json   what is run, on what
    metrics.jsonl     rewards, errors, losses and times; validation of the dev clips
    groups.jsonl      some groups at every log step, sample by sample
    checkpoint.pt     adapter, optimizer, place in the data: enough to go on exactly
    best/             the joined adapter of the best validation so far
    adapter/          the result: A2S-SFT and DG-WGPO side by side, over the original base

The loop is ours and small, on accelerate; loss and reward are pure functions of their own
(`policy_loss`, `rewards`). TRL's trainer would have to be overridden in six places to hear audio at
all, and computes features and encoder once for each copy of a clip.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from transformers import get_cosine_schedule_with_warmup

from megaasr.adapter.peft_layout import Adapter, is_adapter, read_adapter
from megaasr.adapter.write import join, write_adapter
from megaasr.atomic import write_atomically
from megaasr.model.inputs import InputBuilder
from megaasr.model.qwen3_asr import Qwen3ASR
from megaasr.train.clips import listing_of, read_clips
from megaasr.train.optimizer import make_optimizer
from megaasr.train.peft_model import trained_adapter, with_adapter
from megaasr.train.rl.group_log import GroupLog
from megaasr.train.rl.groups import Group, GroupSource, Reward, mean_metrics, summarize
from megaasr.train.rl.policy import Policy
from megaasr.train.rl.policy_update import PolicyUpdate
from megaasr.train.rl.prompt_schedule import PromptSchedule
from megaasr.train.rl.recipe import RLRecipe
from megaasr.train.rl.rewards import score_batch
from megaasr.train.rl.rollout import NativeEngine, RolloutEngine
from megaasr.train.rl.start import load_start
from megaasr.train.run import RunFolder, read_json
from megaasr.train.sums import Sums
from megaasr.train.validation import Validation, is_better

Report = Callable[[dict[str, Any]], None]
_FAILURES = ("empty", "hallucination", "repetition", "truncated")
_BEST_FILE = "validation.json"


class RLTraining:
    """One run of policy optimisation in its folder.

    Args:
        recipe: what to train.
        folder: of the run; a started run is taken up again.
        report: called with every line of the metrics.
        reward: of transcripts; by default DG-WGPO's with the recipe's constants.
        engine: makes the rollout engine of the model and of what makes its inputs; by default the
            model draws itself.

    Raises:
        TrainingError: the folder belongs to another recipe, or data or adapter are missing.
        ModelError: the base cannot be loaded.
    """

    def __init__(
        self,
        recipe: RLRecipe,
        folder: Path,
        report: Report = lambda row: None,
        reward: Reward | None = None,
        engine: Callable[[Any, InputBuilder], RolloutEngine] | None = None,
    ) -> None:
        cuda = torch.cuda.is_available()
        bf16 = cuda and torch.cuda.is_bf16_supported()
        self.accelerator = Accelerator(cpu=not cuda, mixed_precision="bf16" if bf16 else "no")
        self.recipe = recipe
        self.main = self.accelerator.is_main_process
        self._report = report
        self.run = RunFolder(folder, recipe, main=self.main)
        clips = read_clips(recipe.data)
        self.start = load_start(recipe)
        self.run.claim_data(*(listing_of(one) for one in recipe.data), self.start.adapter_file)
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
        self.update = PolicyUpdate(self.accelerator, self.model, self.policy, builder, recipe)
        make = engine or (
            lambda model, builder: NativeEngine(
                model, builder, recipe.sampling, recipe.rollout_batch_size
            )
        )
        self.source = GroupSource(
            PromptSchedule(clips, recipe.thin, recipe.seed),
            make(native, builder),
            lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)),
            reward or partial(score_batch, recipe=recipe.reward),
            recipe.dynamic,
            recipe.seed,
            geometry=builder.geometry,
        )
        self.validation = (
            Validation(read_clips(recipe.dev), recipe.evaluate_clips) if self.main else None
        )
        self.group_log = GroupLog(folder / "groups.jsonl")
        self._share = recipe.share(self.accelerator.num_processes)

    def train(self) -> Path:
        """Run what is left of the steps; return the folder of the joined adapter."""
        recipe, result = self.recipe, self.run.folder / "adapter"
        if is_adapter(result):
            return result
        optimizer = make_optimizer(self.policy, recipe.rates.by_group(), recipe.weight_decay)
        updates = recipe.steps * recipe.loss.iterations
        scheduler = get_cosine_schedule_with_warmup(
            optimizer, round(recipe.warmup_ratio * updates), updates
        )
        policy, optimizer = self.accelerator.prepare(self.policy, optimizer)
        step, position, stale, sums = self._resume(optimizer, scheduler)
        if step == 0:
            self._validate(0)
        while step < recipe.steps and not (recipe.patience and stale >= recipe.patience):
            places = self._places()
            drawn = self.source.draw(position, places, recipe.batch_size, self._gather)
            row = self.update(policy, optimizer, scheduler, drawn.groups)
            step, position = step + 1, drawn.position
            sums.add(summarize(drawn))
            sums.add({"steps": 1, **row})
            if step % recipe.log_steps == 0 or step == recipe.steps:
                self._log_step(step, scheduler.get_last_lr()[0], sums, drawn.groups)
                sums.clear()
            if step % recipe.evaluate_steps == 0 or step == recipe.steps:
                stale = 0 if self._validate(step) else stale + 1
            if step % recipe.checkpoint_steps == 0 or step == recipe.steps:
                self._save(step, position, stale, optimizer, scheduler, sums)
        if self.main:
            shutil.rmtree(result, ignore_errors=True)
            self._write(read_adapter(self.run.folder / "best"), result)
        self.accelerator.wait_for_everyone()
        return result

    def _places(self) -> range:
        first = self.accelerator.process_index * self._share
        return range(first, first + self._share)

    def _validate(self, step: int) -> bool:
        """Decode the dev clips; return whether this is the best so far."""
        better = False
        if self.validation is not None:
            training = self.model.training
            self.model.eval()
            found = self.validation(self.recognizer)
            self.model.train(training)
            self._log({"step": step, **found})
            best = self.run.folder / "best"
            known = read_json(best / _BEST_FILE)
            better = is_better(found, known, _FAILURES) or (known or {}).get("step") == step
            if better:
                both = [self.start.adapter, trained_adapter(self.model, "rl")]
                self._write(join(both, "rl"), best)
                write_atomically(best / _BEST_FILE, json.dumps({"step": step, **found}))
        return any(self._gather([int(better)]))

    def _log_step(self, step: int, rate: float, sums: Sums, groups: Sequence[Group]) -> None:
        every: list[dict[str, float]] = gather_object([dict(sums)])
        if not self.main:
            return
        whole: Sums = Sums()
        for one in every:
            whole.add(one)
        steps = whole["steps"]
        updates = steps * self.recipe.loss.iterations
        seen = max(1.0, whole["m_seen"])
        row = {
            "step": step,
            "steps": self.recipe.steps,
            **mean_metrics(dict(whole)),
            "loss": whole["m_loss"] / updates,
            "kl": whole["m_kl"] / seen,
            "entropy": whole["m_entropy"] / seen,
            "clip_fraction": whole["m_clip_fraction"] / seen,
            "gradient_norm": whole["m_gradient_norm"] / updates,
            "learning_rate": rate,
            "unreadable": whole["unreadable"],
            **{k: v / steps for k, v in sorted(whole.items()) if k.startswith("s_")},
        }
        self._log({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()})
        self.group_log.write(step, groups[: self.recipe.dumped_groups])

    def _resume(self, optimizer: Any, scheduler: Any) -> tuple[int, int, int, Sums]:
        """Take up the last checkpoint; return its step, place in the data, patience and sums."""
        state = self.run.load_checkpoint()
        if state is None:
            return 0, 0, 0, Sums()
        own = dict(self.policy.named_parameters())
        with torch.no_grad():
            for name, value in state["adapter"].items():
                own[name].copy_(value)
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        if self.main:
            self.run.forget_after(state["step"])
            self.group_log.forget_after(state["step"])
        own_sums = state["sums"][self.accelerator.process_index]
        return state["step"], state["position"], state["stale"], Sums(own_sums)

    def _save(
        self,
        step: int,
        position: int,
        stale: int,
        optimizer: Any,
        scheduler: Any,
        sums: Sums,
    ) -> None:
        every = gather_object([dict(sums)])
        if self.main:
            self.run.save_checkpoint(
                {
                    "sums": every,
                    "step": step,
                    "position": position,
                    "stale": stale,
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

    def _gather(self, found: list[int]) -> list[int]:
        joined: list[int] = gather_object(found)
        return joined

    def _write(self, adapter: Adapter, folder: Path) -> None:
        write_adapter(
            adapter,
            folder,
            base=self.recipe.model,
            fingerprint=self.start.fingerprint,
            dtype=torch.float32,
        )

    def _log(self, row: dict[str, Any]) -> None:
        if self.main:
            self.run.log(row)
            self._report(row)
