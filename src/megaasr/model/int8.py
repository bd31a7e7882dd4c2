"""8-bit integer weights for CPUs: quantised layers, and the loading of a checkpoint into them.

The weight of every linear layer and of the token embedding is stored as 8-bit integers with a scale
per output row. The input of a linear layer is quantised row by row while it runs, so that the
product is one of integers, which CPUs compute several times as fast as one of float32. All else
(convolutions, norms and attention) is computed in float32, and the side branches of an adapter stay
unquantised.

The loading is done by transformers' interface for quantisers: each weight is quantised as soon as
it is read, so that the whole model is never in memory at full precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.core_model_loading import ConversionOps
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from megaasr.model.layout import INT8_METHOD

_LARGEST = 127
_SMALLEST_SCALE = 1e-30  # keeps rows of zeros at zero
_ROWS_PER_BLOCK = 8192  # of a weight that is converted, so that a large vocabulary needs no copy
_VALUES_PER_BLOCK = 2**18  # of a weight that is quantised: what fits a core's cache


def multiplies_integers() -> bool:
    """Return whether torch has a fast product of 8-bit integers on this CPU.

    On x86 it needs VNNI (AVX-512, AVX or AMX). With AVX2 alone torch's product was measured to be 4
    (for one row) to 27 times (for 400 rows) slower than that of float32.
    """
    capabilities = torch.cpu.get_capabilities()
    if capabilities.get("architecture") != "x86_64":
        return True
    return any(capabilities.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8"))


def quantize(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows of a matrix as integers, and their scales.

    Args:
        rows: matrix of any floating-point type, shape [rows, columns].

    Returns:
        Integers within -127..127, int8 of shape [rows, columns], and the scale of each row, float32
        of shape [rows, 1]. Their product differs from the matrix by at most half a scale.
    """
    rows = rows.float()
    scales = rows.abs().amax(-1, keepdim=True).div_(_LARGEST).clamp_min_(_SMALLEST_SCALE)
    return (rows / scales).round_().to(torch.int8), scales


def quantize_weight(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the parameters of an 8-bit layer for a weight; see `quantize`.

    Args:
        weight: matrix of any floating-point type, shape [rows, columns]; it is read in blocks, so
            that it is never in memory in float32.

    Returns:
        int8 of shape [rows, columns], and float32 of shape [rows].
    """
    integers = torch.empty(weight.shape, dtype=torch.int8)
    scales = torch.empty(len(weight), 1)
    rows = max(1, _VALUES_PER_BLOCK // weight.shape[1])
    blocks = (torch.split(tensor, rows) for tensor in (weight, integers, scales))
    for weight_block, integer_block, scale_block in zip(*blocks, strict=True):
        quantised, block_scales = quantize(weight_block)
        integer_block.copy_(quantised)
        scale_block.copy_(block_scales)
    return integers, scales.squeeze(-1)


class Int8Linear(nn.Module):
    """A linear layer with 8-bit weights.

    On CPUs without a fast product of integers, the weight is converted to float32 while the layer
    runs: it needs no more memory between its runs, but saves no time either. With AVX2, loading
    replaces the layer by a faster one (`packed_int8`).

    Args:
        in_features: columns of the weight.
        out_features: rows of the weight.
        bias: whether a bias is added.
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = _parameter(out_features, in_features, dtype=torch.int8)
        self.weight_scale = _parameter(out_features, dtype=torch.float32)
        self.bias = _parameter(out_features, dtype=torch.float32) if bias else None
        self.multiplies_integers = multiplies_integers()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product with the weight, and the bias added.

        Args:
            x: input, float32 of shape [..., in_features].

        Returns:
            float32 of shape [..., out_features].
        """
        rows = x.reshape(-1, self.in_features)
        if self.multiplies_integers:
            integers, scales = quantize(rows)
            output = torch._int_mm(integers, self.weight.t()).to(x.dtype)
            output.mul_(self.weight_scale).mul_(scales)
        else:
            blocks = torch.split(self.weight, _ROWS_PER_BLOCK)
            output = torch.cat([rows @ block.to(x.dtype).t() for block in blocks], -1)
            output.mul_(self.weight_scale)
        if self.bias is not None:
            output += self.bias
        return output.view(*x.shape[:-1], self.out_features)


class Int8Embedding(nn.Module):
    """A token embedding with 8-bit weights.

    Args:
        num_embeddings: number of tokens.
        embedding_dim: width of an embedding.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.weight = _parameter(num_embeddings, embedding_dim, dtype=torch.int8)
        self.weight_scale = _parameter(num_embeddings, dtype=torch.float32)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the embeddings of tokens, float32 of shape [..., embedding_dim].

        Args:
            tokens: token ids, int64 of any shape.
        """
        return self.weight[tokens].float() * self.weight_scale[tokens].unsqueeze(-1)


def _parameter(*shape: int, dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape, dtype=dtype), requires_grad=False)


def replace_layers(model: Any) -> Any:
    """Replace the linear layers and the embedding of a native model by empty 8-bit layers.

    Args:
        model: native model, which is changed; its weights are lost.

    Returns:
        The same model; the new layers are on the device `meta`.
    """
    for name, module in list(model.named_modules()):
        with torch.device("meta"):
            if isinstance(module, nn.Linear):
                replacement: nn.Module = Int8Linear(
                    module.in_features, module.out_features, bias=module.bias is not None
                )
            elif isinstance(module, nn.Embedding):
                replacement = Int8Embedding(module.num_embeddings, module.embedding_dim)
            else:
                continue
        model.set_submodule(name, replacement)
    # A head that shares the embedding's weight shares its scales, too.
    for target, source in list(model.all_tied_weights_keys.items()):
        model.all_tied_weights_keys[f"{target}_scale"] = f"{source}_scale"
    return model


@register_quantization_config(INT8_METHOD)
@dataclass
class Int8Config(QuantizationConfigMixin):
    """Tells `from_pretrained` to load a checkpoint into 8-bit layers.

    Attributes:
        quant_method: name of the method.
        base_fingerprint: of a checkpoint that is stored in 8 bits, the fingerprint of the weights
            that were quantised (`parts.fingerprint`).
    """

    quant_method: Any = INT8_METHOD
    base_fingerprint: str | None = None


@register_quantizer(INT8_METHOD)
class Int8Quantizer(HfQuantizer):
    """Loads a checkpoint into 8-bit layers, and quantises its weights unless they are 8-bit."""

    def param_needs_quantization(self, model: Any, param_name: str, **kwargs: Any) -> bool:
        """Return whether a parameter of the checkpoint is a weight to be quantised."""
        layer, _, name = param_name.rpartition(".")
        return (
            not self.pre_quantized
            and name == "weight"
            and isinstance(model.get_submodule(layer), Int8Linear | Int8Embedding)
        )

    def get_quantize_ops(self) -> ConversionOps:
        """Return the operation that quantises one weight."""
        return _Quantize()

    def is_serializable(self) -> bool:
        """Return False: checkpoints are written at full precision."""
        return False

    @property
    def is_trainable(self) -> bool:
        """Whether the model can be trained: no."""
        return False

    def _process_model_before_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        replace_layers(model)
        if not self.pre_quantized:
            # Older versions of transformers (5.13 and 5.19, not 5.24) convert a weight to the type
            # of the parameter that it replaces before it is quantised: to int8, all zeros.
            for layer in model.modules():
                if isinstance(layer, Int8Linear | Int8Embedding):
                    layer.weight = nn.Parameter(layer.weight.float(), requires_grad=False)
        return model


class _Quantize(ConversionOps):
    """Replaces a weight by its integers and scales."""

    def convert(self, input_dict: dict[str, Any], *_: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the parameters of an 8-bit layer, by name, from the weight in a checkpoint."""
        ((weight,),) = input_dict.values()
        name = kwargs["full_layer_name"]
        integers, scales = quantize_weight(weight)
        return {name: integers, f"{name}_scale": scales}
