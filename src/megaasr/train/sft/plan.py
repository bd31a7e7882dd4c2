"""A description of a fine-tuning run that has not started: sizes, stages, steps, memory."""

from __future__ import annotations

from collections import Counter
from typing import Any

from megaasr.model.empty_model import empty_model
from megaasr.model.geometry import AudioGeometry
from megaasr.model.hub import find_model_parts
from megaasr.model.layout import model_config
from megaasr.train.processes import process_count
from megaasr.train.scopes import group_of, modules_of
from megaasr.train.sft.data import StageData, TrainingData, require_inputs
from megaasr.train.sft.recipe import PhaseRecipe, SFTRecipe

_WEIGHT_BYTES = 2  # bf16
_TRAINED_BYTES = 16  # adapter in fp32, its gradient, and the two moments of AdamW


def describe_plan(recipe: SFTRecipe) -> str:
    """Return trainable parameters of each layer group, stages, steps, and an estimate of memory.

    Raises:
        ModelError: the base model cannot be found.
        TrainingError: inputs are missing; all are named, with the commands that make them.
    """
    require_inputs(recipe)
    base = find_model_parts(recipe.model).base
    model = empty_model(model_config(base, "windowed"))
    total = sum(p.numel() for p in model.parameters())
    data = TrainingData(recipe, AudioGeometry.from_folder(base))
    processes = process_count()
    lines = [
        f"base: {recipe.model}, {total / 1e6:.1f} M parameters",
        f"step: {recipe.batch_size} clips = {recipe.device_batch_size} x {processes} processes x "
        f"{recipe.accumulation(processes)} accumulated",
    ]
    max_trainable = 0
    for number, phase in enumerate(recipe.phases):
        sizes = _trainable_parameters(model, phase, recipe.lora.rank)
        max_trainable = max(max_trainable, sum(sizes.values()))
        groups = ", ".join(f"{name} {count / 1e3:.0f} k" for name, count in sizes.items())
        lines.append(f"phase {phase.name}: trains {groups}")
        lines += _describe_stages(recipe, phase, data.stages(number))
    gib = 2**30
    lines.append(
        f"memory without activations: weights, bf16: {total * _WEIGHT_BYTES / gib:.2f} GiB, "
        "adapter, fp32, with gradient and AdamW's two moments: "
        f"{max_trainable * _TRAINED_BYTES / gib:.2f} GiB"
    )
    return "\n".join(lines)


def _describe_stages(recipe: SFTRecipe, phase: PhaseRecipe, stages: list[StageData]) -> list[str]:
    lines = []
    for number, stage in enumerate(stages, 1):
        bound = phase.stages[number - 1]
        clips = stage.clips
        steps = max(1, round(phase.epochs * len(clips) / recipe.batch_size))
        hours = sum(clip.duration_s for clip in clips) / 3600
        kind = "all clips" if bound is None else f"base error below {100 * bound:.0f} %"
        if phase.fresh is not None:
            kind = "simulated while training"
        lines.append(f"  stage {number}: {kind}: {len(clips)} clips, {hours:.1f} h, {steps} steps")
    return lines


def _trainable_parameters(model: Any, phase: PhaseRecipe, rank: int) -> dict[str, int]:
    """Return the number of the adapter's parameters in each layer group."""
    modules = dict(model.named_modules())
    sizes: Counter[str] = Counter()
    for name in modules_of(phase.scope, modules):
        layer = modules[name]
        sizes[str(group_of(name))] += rank * (layer.in_features + layer.out_features)
    return dict(sizes)
