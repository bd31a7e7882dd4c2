"""A native model with a fresh PEFT adapter, and the adapter's weights in and out of it."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from megaasr.adapter.names import trained_name
from megaasr.adapter.peft_layout import Adapter, LowRank
from megaasr.train.lora_recipe import LoraRecipe
from megaasr.train.scopes import Scope, group_of, modules_of

_NAME = "default"  # PEFT's for a first adapter


def with_adapter(model: Any, scope: Scope, lora: LoraRecipe) -> Any:
    """Return the model with a new adapter on the layers of a scope; only it is trainable."""
    names = modules_of(scope, (name for name, _ in model.named_modules()))
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=names,
        bias="none",
    )
    return get_peft_model(model, config)


def trained_adapter(model: Any, name: str) -> Adapter:
    """Return the adapter that a PEFT model has now."""
    layers = {}
    for full, module in model.named_modules():
        if hasattr(module, "lora_A") and group_of(full):
            a, b = module.lora_A[_NAME].weight, module.lora_B[_NAME].weight
            layers[trained_name(full)] = LowRank(
                a.detach().float().cpu().clone(),
                (b.detach().float() * module.scaling[_NAME]).cpu(),
            )
    return Adapter(name, layers, "")


def load_trained(model: Any, adapter: Adapter) -> None:
    """Give a PEFT model the weights of an adapter that was written from it."""
    with torch.no_grad():
        for full, module in model.named_modules():
            layer = adapter.layers.get(trained_name(full))
            if layer is not None and hasattr(module, "lora_A"):
                module.lora_A[_NAME].weight.copy_(layer.a)
                module.lora_B[_NAME].weight.copy_(layer.b / module.scaling[_NAME])
