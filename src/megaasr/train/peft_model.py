"""A native model with a new PEFT adapter, and the transfer of the adapter's weights."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from megaasr.adapter.names import trained_name
from megaasr.adapter.peft_layout import Adapter, LowRank
from megaasr.train.lora_recipe import LoraRecipe
from megaasr.train.scopes import Scope, group_of, modules_of

_NAME = "default"  # PEFT's name of a first adapter


def with_adapter(model: Any, scope: Scope, lora: LoraRecipe) -> Any:
    """Return the model with a new adapter on the layers of a scope; only the adapter is trainable.

    Args:
        model: native model; its layers are wrapped in place.
        scope: layers that get the adapter.
        lora: size of the adapter.

    Raises:
        UsageError: the model has no layer in the scope.
    """
    names = modules_of(scope, (name for name, _ in model.named_modules()))
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=names,
        bias="none",
    )
    return get_peft_model(model, config)


def read_trained_adapter(model: Any, name: str) -> Adapter:
    """Return a copy of the adapter in a PEFT model, on the CPU in float32.

    Args:
        model: PEFT model.
        name: name of the adapter that is returned.
    """
    layers = {}
    for full_name, module in model.named_modules():
        if hasattr(module, "lora_A") and group_of(full_name):
            a, b = module.lora_A[_NAME].weight, module.lora_B[_NAME].weight
            layers[trained_name(full_name)] = LowRank(
                a.detach().float().cpu().clone(),
                (b.detach().float() * module.scaling[_NAME]).cpu(),
            )
    return Adapter(name, layers, "")


def load_trained_adapter(model: Any, adapter: Adapter) -> None:
    """Set the weights of a PEFT model's adapter to those that were read from it before."""
    with torch.no_grad():
        for full_name, module in model.named_modules():
            layer = adapter.layers.get(trained_name(full_name))
            if layer is not None and hasattr(module, "lora_A"):
                module.lora_A[_NAME].weight.copy_(layer.a)
                module.lora_B[_NAME].weight.copy_(layer.b / module.scaling[_NAME])
