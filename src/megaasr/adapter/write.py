"""Write adapters in PEFT's layout, and put several side by side into one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from megaasr.adapter.peft_layout import CONFIG_FILE, PARENT, WEIGHTS_FILE, Adapter, LowRank
from megaasr.atomic import atomic_file, write_atomically


def join(adapters: Sequence[Adapter], name: str) -> Adapter:
    """Return one adapter that changes every layer by the sum of several adapters' changes.

    Their ranks stand side by side, so nothing is lost: [b1 b2] [a1; a2] = b1 a1 + b2 a2.

    Args:
        adapters: at least one; layers in only some of them are kept as they are.
        name: of the new adapter.
    """
    layers: dict[str, LowRank] = {}
    for one in adapters:
        for module, layer in one.layers.items():
            layers[module] = layers[module].beside(layer) if module in layers else layer
    return Adapter(name, layers, "", adapters[0].base)


def write_adapter(
    adapter: Adapter, folder: Path, *, base: str, fingerprint: str, dtype: torch.dtype
) -> None:
    """Write an adapter so that PEFT loads it on the native model.

    Scales are folded into B, so alpha equals the rank of every layer.

    Args:
        adapter: on native module names.
        folder: made if it does not exist.
        base: the name of the model it was trained on.
        fingerprint: of that model's weights, see `megaasr.model.parts.fingerprint`.
        dtype: of the file; cast once.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    ranks = {name: layer.rank for name, layer in adapter.layers.items()}
    common = max(set(ranks.values()), key=list(ranks.values()).count)
    others = {name: rank for name, rank in ranks.items() if rank != common}
    tensors = {}
    for name, layer in adapter.layers.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.a.to(dtype).contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.b.to(dtype).contiguous()
    # A single entry: several would be written in a random order.
    weights = save(tensors, {PARENT: fingerprint})
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": common,
        "lora_alpha": common,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": sorted(ranks),
        "rank_pattern": others,
        "alpha_pattern": others,
    }
    # Not safetensors' own file, which nobody else may read.
    with atomic_file(folder / WEIGHTS_FILE) as file:
        file.write(weights)
    write_atomically(folder / CONFIG_FILE, json.dumps(config, indent=1) + "\n")
