"""Writes adapters in PEFT's layout, and joins several into one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from megaasr import strict_json
from megaasr.adapter.peft_config import CONFIG_FILE
from megaasr.adapter.peft_layout import FINGERPRINT_KEY, WEIGHTS_FILE, Adapter, LowRank
from megaasr.atomic import atomic_file, write_atomically


def join(adapters: Sequence[Adapter], name: str) -> Adapter:
    """Return one adapter whose changes are the sums of the changes of several adapters.

    They are joined along the rank, so that nothing is lost: [b1 b2] [a1; a2] = b1 a1 + b2 a2.

    Args:
        adapters: adapters to join, at least one; they may change different layers.
        name: name of the new adapter.
    """
    layers: dict[str, LowRank] = {}
    for adapter in adapters:
        for module, layer in adapter.layers.items():
            layers[module] = layers[module].joined_with(layer) if module in layers else layer
    return Adapter(name, layers, "", adapters[0].base)


def write_adapter(
    adapter: Adapter, folder: Path, *, base: str, fingerprint: str, dtype: torch.dtype
) -> None:
    """Write an adapter in a form that PEFT can load for the native model.

    Scales are folded into B, so alpha equals the rank of every layer.

    Args:
        adapter: adapter with native module names.
        folder: folder of the adapter; it is created if it does not exist.
        base: name of the model that the adapter was trained on.
        fingerprint: fingerprint of that model's weights, see `megaasr.model.parts.fingerprint`.
        dtype: type of the weights in the file.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    ranks = {name: layer.rank for name, layer in adapter.layers.items()}
    common_rank = max(set(ranks.values()), key=list(ranks.values()).count)
    exceptions = {name: rank for name, rank in ranks.items() if rank != common_rank}
    tensors = {}
    for name, layer in adapter.layers.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.a.to(dtype).contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.b.to(dtype).contiguous()
    # One entry only: safetensors writes several in random order.
    weights = save(tensors, {FINGERPRINT_KEY: fingerprint})
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": common_rank,
        "lora_alpha": common_rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": sorted(ranks),
        "rank_pattern": exceptions,
        "alpha_pattern": exceptions,
    }
    # Not with safetensors' save_file, whose file only its owner may read.
    with atomic_file(folder / WEIGHTS_FILE) as file:
        file.write(weights)
    write_atomically(folder / CONFIG_FILE, strict_json.dumps(config, indent=1) + "\n")
