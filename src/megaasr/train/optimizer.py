"""AdamW with a learning rate for each group of layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from megaasr.train.scopes import Group, group_of


def make_optimizer(
    model: Any, rates: Mapping[Group, float], weight_decay: float
) -> torch.optim.Optimizer:
    """Return the optimizer of what is trainable in a model.

    Args:
        model: its trainable parameters all belong to a group.
        rates: learning rate of each group.
        weight_decay: of all of them.
    """
    groups: dict[Group, list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            group = group_of(name)
            assert group is not None, name
            groups.setdefault(group, []).append(parameter)
    return torch.optim.AdamW(
        [{"params": some, "lr": rates[group]} for group, some in groups.items()],
        weight_decay=weight_decay,
    )
