"""Reduced precision and compiled layers: what makes the stages of `small` fast on a processor."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from megaasr.config import Recipe


class MixedPrecision(Recipe):
    """The precision of a stage; weights, sums and losses are always float32."""

    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="precision of matrix products and convolutions"
    )

    def autocast(self, device_type: str = "cpu") -> AbstractContextManager[object]:
        """Return the context in which the products of a forward pass are computed.

        Args:
            device_type: type of the device, as in `torch.device.type`.
        """
        return torch.autocast(device_type, torch.bfloat16, enabled=self.precision == "bfloat16")


class CompiledLayers(Recipe):
    """Whether the decoder's layers are compiled."""

    compiled: bool = Field(
        default=False,
        description="compile the decoder's layers first, half a minute (needs g++ on CPUs)",
    )

    def compile_layers(self, decoder: nn.Module) -> None:
        """Compile the layers of a decoder in place, if the recipe says so.

        Args:
            decoder: module whose `layers` are compiled, for batches of any shape.
        """
        if self.compiled:
            layers = decoder.get_submodule("layers")
            for layer in layers.children():
                layer.compile(dynamic=True)


def uncompiled() -> AbstractContextManager[object]:
    """Return a context in which compiled layers run as they were written.

    Otherwise they would be compiled again for the shapes of decoding.
    """
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance
