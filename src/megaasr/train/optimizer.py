"""AdamW with a learning rate for each layer group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from megaasr.train.scopes import LayerGroup, group_of


def make_optimizer(
    model: Any, learning_rates: Mapping[LayerGroup, float], weight_decay: float
) -> torch.optim.Optimizer:
    """Return the optimizer of a model's trainable parameters.

    Args:
        model: model whose trainable parameters all belong to a layer group.
        learning_rates: learning rate of each layer group.
        weight_decay: weight decay of all parameters.
    """
    groups: dict[LayerGroup, list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            group = group_of(name)
            assert group is not None, name
            groups.setdefault(group, []).append(parameter)
    return torch.optim.AdamW(
        [{"params": params, "lr": learning_rates[group]} for group, params in groups.items()],
        weight_decay=weight_decay,
    )
