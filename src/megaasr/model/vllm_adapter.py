"""An adapter for vLLM: written in the form that it accepts, and checked once it is loaded.

vLLM skips a change whose name it does not know with no more than a log line. So after loading, the
matrices that its layers multiply with are compared with the adapter's (`require_loaded`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from megaasr.adapter.peft_layout import Adapter, LowRank
from megaasr.adapter.write import write_adapter
from megaasr.errors import CheckpointError
from megaasr.model.layout import original_key

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM has buffers for."""
_TO_VLLM = (
    (re.compile(r"^model\.multi_modal_projector\.linear_([12])$"), r"audio_tower.proj\1"),
    (re.compile(r"^model\.audio_tower\."), "audio_tower."),
    (re.compile(r"^model\.language_model\."), "language_model.model."),
)
_FUSED = {
    "q_proj": ("qkv_proj", 0),
    "k_proj": ("qkv_proj", 1),
    "v_proj": ("qkv_proj", 2),
    "gate_proj": ("gate_up_proj", 0),
    "up_proj": ("gate_up_proj", 1),
}
_MAX_LISTED = 5


@dataclass(frozen=True, slots=True)
class LayerPart:
    """Where vLLM keeps a linear layer.

    Attributes:
        module: name of vLLM's module.
        part: index of the layer among those that the module joins, 0 if it is alone.
    """

    module: str
    part: int


def vllm_layer(name: str) -> LayerPart:
    """Return where vLLM keeps a layer.

    Args:
        name: native name of the layer, such as `model.language_model.layers.0.self_attn.q_proj`.
    """
    for pattern, replacement in _TO_VLLM:
        name = pattern.sub(replacement, name)
    parent, _, last = name.rpartition(".")
    fused, part = _FUSED.get(last, (last, 0))
    return LayerPart(f"{parent}.{fused}", part)


def buffer_rank(adapter: Adapter) -> int:
    """Return the smallest rank that vLLM has buffers for and that holds every layer.

    Raises:
        CheckpointError: a layer has a higher rank than vLLM allows.
    """
    highest = max(layer.rank for layer in adapter.layers.values())
    for rank in RANKS:
        if rank >= highest:
            return rank
    raise CheckpointError(
        f"the adapter {adapter.name} has rank {highest} and vLLM takes {RANKS[-1]} at most; merge "
        "it with mega-asr merge and load the merged model, or use the engine transformers"
    )


def target_names(adapter: Adapter) -> list[str]:
    """Return the last parts of vLLM's names of the changed layers; others get no buffers."""
    return sorted({_original_name(name).rpartition(".")[2] for name in adapter.layers})


def write_for_vllm(adapter: Adapter, folder: Path) -> None:
    """Write an adapter under the names and with the one rank that vLLM expects.

    Layers of lower rank get rows and columns of zeros.

    Args:
        adapter: adapter with native module names.
        folder: folder of the adapter; it is created if it does not exist.

    Raises:
        CheckpointError: a layer has a higher rank than vLLM allows.
    """
    rank = buffer_rank(adapter)
    layers = {_original_name(name): _padded(layer, rank) for name, layer in adapter.layers.items()}
    write_adapter(
        replace(adapter, layers=layers),
        folder,
        base=adapter.base or "",
        fingerprint=adapter.base_fingerprint or "",
        dtype=torch.float32,
    )


def require_loaded(adapter: Adapter, modules: Mapping[str, Any], slot: int = 0) -> None:
    """Raise unless vLLM's layers hold every change of an adapter, exactly.

    Args:
        adapter: adapter with native module names.
        modules: vLLM's layers with a LoRA by their names.
        slot: index of the adapter among those that are loaded.

    Raises:
        CheckpointError: changes are missing or differ; the message lists some of them.
    """
    problems = [
        f"{name} {problem}"
        for name, layer in adapter.layers.items()
        if (problem := _problem(layer, vllm_layer(name), modules, slot)) is not None
    ]
    if problems:
        more = len(problems) - _MAX_LISTED
        listed = "; ".join(problems[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
        raise CheckpointError(
            f"vLLM does not apply all of the adapter {adapter.name}: {listed}; use the engine "
            "transformers, or vLLM 0.32"
        )


def _problem(
    layer: LowRank, position: LayerPart, modules: Mapping[str, Any], slot: int
) -> str | None:
    module = modules.get(position.module)
    if module is None:
        return f"is no layer with a LoRA ({position.module})"
    downs, ups = module.lora_a_stacked, module.lora_b_stacked
    if position.part >= len(downs):
        return f"is no part of {position.module}, which has {len(downs)}"
    for stacked, expected in ((downs[position.part], layer.a), (ups[position.part], layer.b)):
        matrix = stacked[slot].flatten(0, -2).float().cpu()
        rows, columns = expected.shape
        if rows > matrix.shape[0] or columns > matrix.shape[1]:
            return f"has shape {tuple(expected.shape)}, vLLM's buffer {tuple(matrix.shape)}"
        padded = functional.pad(expected, (0, matrix.shape[1] - columns, 0, matrix.shape[0] - rows))
        if not torch.equal(matrix, padded.to(stacked.dtype).float()):
            return "holds other numbers"
    return None


def _original_name(name: str) -> str:
    return original_key(f"{name}.").removesuffix(".")


def _padded(layer: LowRank, rank: int) -> LowRank:
    missing = rank - layer.rank
    return LowRank(
        functional.pad(layer.a, (0, 0, 0, missing)), functional.pad(layer.b, (0, missing))
    )
