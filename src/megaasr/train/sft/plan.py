"""What a fine-tuning run would do, before it does it."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from megaasr.model.geometry import AudioGeometry
from megaasr.model.hub import find_model_parts
from megaasr.model.layout import model_config
from megaasr.train.scopes import group_of, modules_of
from megaasr.train.sft.data import TrainingData
from megaasr.train.sft.recipe import PhaseRecipe, SFTRecipe

_BYTES = {"weights, bf16": 2, "adapter, fp32, with gradient and AdamW's two moments": 16}


def describe_plan(recipe: SFTRecipe) -> str:
    """Return trainable parameters for each group, stages, steps, and an estimate of memory."""
    base = find_model_parts(recipe.model).base
    model = _skeleton(base)
    total = sum(p.numel() for p in model.parameters())
    data = TrainingData(recipe, AudioGeometry.from_folder(base))
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    lines = [
        f"base: {recipe.model}, {total / 1e6:.1f} M parameters",
        f"step: {recipe.batch_size} clips = {recipe.device_batch_size} x {processes} processes x "
        f"{recipe.accumulation(processes)} accumulated",
    ]
    most = 0
    for number, phase in enumerate(recipe.phases):
        sizes = _trainable(model, phase, recipe.lora.rank)
        most = max(most, sum(sizes.values()))
        groups = ", ".join(f"{name} {count / 1e3:.0f} k" for name, count in sizes.items())
        lines.append(f"phase {phase.name}: trains {groups}")
        for at, (bound, stage) in enumerate(
            zip(phase.stages, data.stages(number, phase), strict=False)
        ):
            chosen = stage.clips
            steps = max(1, round(phase.epochs * len(chosen) / recipe.batch_size))
            hours = sum(one.duration_s for one in chosen) / 3600
            below = "all clips" if bound is None else f"base error below {100 * bound:.0f} %"
            below = "simulated while training" if phase.fresh is not None else below
            lines.append(
                f"  stage {at + 1}: {below}: {len(chosen)} clips, {hours:.1f} h, {steps} steps"
            )
    parts = dict(zip(_BYTES, (total * 2, most * 16), strict=True))
    memory = ", ".join(f"{name}: {size / 2**30:.2f} GiB" for name, size in parts.items())
    lines.append(f"memory without activations: {memory}")
    return "\n".join(lines)


def _skeleton(base: Path) -> Any:
    """The model without weights, for its modules and sizes."""
    import torch
    from transformers import Qwen3ASRForConditionalGeneration

    build: Any = Qwen3ASRForConditionalGeneration
    with torch.device("meta"):
        return build(model_config(base, "windowed"))


def _trainable(model: Any, phase: PhaseRecipe, rank: int) -> dict[str, int]:
    modules = dict(model.named_modules())
    sizes: Counter[str] = Counter()
    for name in modules_of(phase.scope, modules):
        layer = modules[name]
        sizes[str(group_of(name))] += rank * (layer.in_features + layer.out_features)
    return dict(sizes)
