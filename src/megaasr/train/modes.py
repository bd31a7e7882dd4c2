"""Modes of a model and of the process that training switches for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode inside the block; afterwards it has its mode back."""
    was_training = module.training
    module.train(False)
    try:
        yield
    finally:
        module.train(was_training)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Compute with denormal numbers flushed to zero inside the block.

    The gradients of CTC reach below the smallest normal number, where CPUs are very slow.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:  # other code of the process keeps its arithmetic
        torch.set_flush_denormal(False)
