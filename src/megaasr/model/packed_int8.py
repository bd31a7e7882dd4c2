"""8-bit linear layers for CPUs with AVX2 alone, whose products are computed by FBGEMM.

AVX2 adds two products of 8-bit integers in 16 bits, where they fit if one of the factors has 7
bits. So the input has 7 bits here. What these cannot express is multiplied as a second row of 7
bits, wherever that is nearly free or the precision is needed: the error of a value is then at most
1/15,876 of the largest of its row, and not 1/126.

FBGEMM is a part of torch, and needs the weights in an order of its own.
"""

from __future__ import annotations

import ctypes
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import nn

from megaasr.model.int8 import Int8Linear, multiplies_integers

_LARGEST = 63
_ZERO_POINT = 64  # FBGEMM wants the input without a sign
_FINER = 126  # steps of the second row in a step of the first
_SMALLEST_SCALE = 1e-30  # keeps rows of zeros at zero
_AT_ONCE = 8  # layers that exist twice while they are packed
_ROWS_PER_BLOCK = 2048  # of a weight; FBGEMM packs larger blocks half as fast


def has_packed_products() -> bool:
    """Return whether torch was built with FBGEMM and has the operators that this module uses."""
    return "fbgemm" in torch.backends.quantized.supported_engines and all(
        hasattr(torch.ops.quantized, name)
        for name in ("linear_prepack", "linear_with_input_q_dq_qweight_dq_output_fp32")
    )


def is_faster_than_float32() -> bool:
    """Return whether 8-bit layers save time on this CPU, and not only memory."""
    return multiplies_integers() or has_packed_products()


class PackedInt8Linear(nn.Module):
    """A linear layer with 8-bit weights in FBGEMM's order.

    Args:
        layer: layer with the same weights; it is not changed.
        precise: multiply two rows of 7 bits for every input; else only if each item of a batch
            has one position, as while a text is decoded: then time goes into reading the weights.
    """

    def __init__(self, layer: Int8Linear, *, precise: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.precise = precise
        self.weight_scale, self.bias = layer.weight_scale, layer.bias
        self._packed = [
            torch.ops.quantized.linear_prepack(
                torch._make_per_tensor_quantized_tensor(block, 1.0, 0), None
            )
            for block in torch.split(layer.weight.detach(), _ROWS_PER_BLOCK)
        ]

    @property
    def weight(self) -> torch.Tensor:
        """The integers in the order of the checkpoint: a copy, int8 of shape [rows, columns]."""
        blocks = (torch.ops.quantized.linear_unpack(packed)[0] for packed in self._packed)
        return torch.cat([block.int_repr() for block in blocks])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product with the weight, and the bias added.

        Args:
            x: input, float32 of shape [..., in_features].

        Returns:
            float32 of shape [..., out_features].
        """
        rows = x.reshape(-1, self.in_features)
        scales = rows.abs().amax(-1, keepdim=True).div_(_LARGEST).clamp_min_(_SMALLEST_SCALE)
        steps = rows / scales
        if self.precise or x.shape[-2] == 1:
            coarse = steps.round()
            fine = steps.sub_(coarse).mul_(_FINER)
            output, correction = self._product(torch.cat([coarse, fine])).chunk(2)
            output = torch.add(output, correction, alpha=1 / _FINER)
        else:
            output = self._product(steps)
        output.mul_(self.weight_scale).mul_(scales)
        if self.bias is not None:
            output += self.bias
        return output.view(*x.shape[:-1], self.out_features)

    def _product(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the product of the integers that are next to the rows with those of the weight."""
        multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
        blocks = [multiply(rows, 1.0, _ZERO_POINT, packed) for packed in self._packed]
        return torch.cat(blocks, -1) if len(blocks) > 1 else blocks[0]


def pack_if_faster(model: Any) -> None:
    """Replace the 8-bit linear layers of a native model by packed ones on CPUs that need them.

    The layers of the encoder and the projector are precise for every input: other models of this
    kind were seen to repeat themselves with a coarser encoder.

    Args:
        model: native model with loaded 8-bit weights, which is changed.
    """
    if multiplies_integers() or not has_packed_products():
        return
    layers = [item for item in model.named_modules() if isinstance(item[1], Int8Linear)]

    def pack(item: tuple[str, Int8Linear]) -> None:
        name, layer = item
        precise = name.startswith(("model.audio_tower.", "model.multi_modal_projector."))
        model.set_submodule(name, PackedInt8Linear(layer, precise=precise))

    # torch will remove its quantised tensors at some time; then `has_packed_products` is false.
    with warnings.catch_warnings(), ThreadPoolExecutor(torch.get_num_threads()) as threads:
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
        while layers:
            # A layer is let go once it is packed, so that the weights exist about once.
            list(threads.map(pack, [layers.pop() for _ in range(min(len(layers), _AT_ONCE))]))
            _return_freed_memory()


def _return_freed_memory() -> None:
    """Let glibc return freed memory to the system.

    The threads that pack have heaps of their own, and would not use what others freed.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
