"""Whisper as the teacher of `small`: load it, and copy its layers into a Qwen3-ASR encoder.

Whisper: Radford et al. 2022, arXiv 2212.04356; code and weights have the MIT licence. The weights
are in CTranslate2's layout (see `make judge`). Every size can be read; Whisper-base is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import WhisperConfig, WhisperForConditionalGeneration

from megaasr.errors import CheckpointError
from megaasr.model.ctranslate2 import read_ctranslate2

WEIGHTS_FILE = "model.bin"
Arrays = Mapping[str, NDArray[Any]]


def load_whisper(folder: Path) -> WhisperForConditionalGeneration:
    """Return Whisper in float32, in evaluation mode.

    Args:
        folder: folder with `model.bin` in CTranslate2's layout.

    Raises:
        CheckpointError: the file is missing or damaged, or is not Whisper.
    """
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no model.bin; fetch Whisper-base with: make judge")
    arrays = read_ctranslate2(path)
    config = _config(arrays)
    model = WhisperForConditionalGeneration(config)
    native = _native_arrays(arrays, config.encoder_layers)
    state = {name: torch.from_numpy(values) for name, values in native}
    try:
        problems = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{path} is not Whisper: {error}") from error
    # k_proj has no bias in Whisper, and the output projection is the embedding.
    missing = [name for name in problems.missing_keys if name != "proj_out.weight"]
    if missing or problems.unexpected_keys:
        raise CheckpointError(
            f"{path} is not Whisper: missing {missing[:3]}, "
            f"unexpected {problems.unexpected_keys[:3]}"
        )
    model.train(False)
    return model


def _take(arrays: Arrays, name: str) -> NDArray[Any]:
    if name not in arrays:
        raise CheckpointError(f"the model has no {name}: it is not Whisper")
    return arrays[name]


def _config(arrays: Arrays) -> WhisperConfig:
    """Return the sizes of Whisper, which are the shapes of its arrays."""
    width, mel_bins, _ = _take(arrays, "encoder/conv1/weight").shape
    ffn = len(_take(arrays, "encoder/layer_0/ffn/linear_0/bias"))
    layers = sum(name.endswith("self_attention/linear_0/bias") for name in arrays) // 2
    return WhisperConfig(
        vocab_size=len(_take(arrays, "decoder/embeddings/weight")),
        num_mel_bins=mel_bins,
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=int(_take(arrays, "encoder/num_heads")),
        decoder_attention_heads=int(_take(arrays, "decoder/num_heads")),
        encoder_ffn_dim=ffn,
        decoder_ffn_dim=ffn,
        max_source_positions=len(_take(arrays, "encoder/position_encodings/encodings")),
        max_target_positions=len(_take(arrays, "decoder/position_encodings/encodings")),
        pad_token_id=0,
    )


def _native_arrays(arrays: Arrays, layers: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield (name, values) for each parameter by its name in transformers."""

    def take(name: str) -> NDArray[np.float32]:
        return _take(arrays, name).astype(np.float32)

    for number in (1, 2):
        for kind in ("weight", "bias"):
            yield f"model.encoder.conv{number}.{kind}", take(f"encoder/conv{number}/{kind}")
    for side in ("encoder", "decoder"):
        target = f"model.{side}"
        yield f"{target}.embed_positions.weight", take(f"{side}/position_encodings/encodings")
        yield from _norm(take, f"{side}/layer_norm", f"{target}.layer_norm")
        for layer in range(layers):
            yield from _layer(take, f"{side}/layer_{layer}", f"{target}.layers.{layer}")
    yield "model.decoder.embed_tokens.weight", take("decoder/embeddings/weight")


def _layer(take: Any, source: str, target: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
    decoder = source.startswith("decoder")
    yield from _norm(take, f"{source}/self_attention/layer_norm", f"{target}.self_attn_layer_norm")
    fused = ("q_proj", "k_proj", "v_proj")
    yield from _linears(take, f"{source}/self_attention/linear_0", f"{target}.self_attn", fused)
    yield from _linears(
        take, f"{source}/self_attention/linear_1", f"{target}.self_attn", ("out_proj",)
    )
    if decoder:
        across = f"{target}.encoder_attn"
        yield from _norm(take, f"{source}/attention/layer_norm", f"{across}_layer_norm")
        yield from _linears(take, f"{source}/attention/linear_0", across, ("q_proj",))
        yield from _linears(take, f"{source}/attention/linear_1", across, ("k_proj", "v_proj"))
        yield from _linears(take, f"{source}/attention/linear_2", across, ("out_proj",))
    yield from _norm(take, f"{source}/ffn/layer_norm", f"{target}.final_layer_norm")
    yield from _linears(take, f"{source}/ffn/linear_0", target, ("fc1",))
    yield from _linears(take, f"{source}/ffn/linear_1", target, ("fc2",))


def _norm(take: Any, source: str, target: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
    yield f"{target}.weight", take(f"{source}/gamma")
    yield f"{target}.bias", take(f"{source}/beta")


def _linears(
    take: Any, source: str, target: str, names: tuple[str, ...]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Split a fused projection into its parts; keys have no bias."""
    weights = np.split(take(f"{source}/weight"), len(names))
    biases = np.split(take(f"{source}/bias"), len(names))
    for name, weight, bias in zip(names, weights, biases, strict=True):
        yield f"{target}.{name}.weight", weight
        if name != "k_proj":
            yield f"{target}.{name}.bias", bias


def copy_layers(whisper: WhisperForConditionalGeneration, encoder: nn.Module) -> None:
    """Copy Whisper's transformer layers and last norm into a native Qwen3-ASR encoder.

    Args:
        whisper: the teacher.
        encoder: native `Qwen3ASREncoder` of the same width and depth; its convolutions are kept.

    Raises:
        CheckpointError: the encoder has another width or depth.
    """
    source = whisper.model.encoder.state_dict()
    state = {
        name.replace("layer_norm.", "ln_post.") if name.startswith("layer_norm.") else name: values
        for name, values in source.items()
        if name.startswith(("layers.", "layer_norm."))
    }
    for layer in range(
        whisper.config.encoder_layers
    ):  # keys have a bias in Qwen3-ASR, but not in Whisper
        state[f"layers.{layer}.self_attn.k_proj.bias"] = torch.zeros(whisper.config.d_model)
    problems = encoder.load_state_dict(state, strict=False)
    convolutions = ("conv2d1.", "conv2d2.", "conv2d3.", "conv_out.")
    unfilled = [name for name in problems.missing_keys if not name.startswith(convolutions)]
    if unfilled or problems.unexpected_keys:
        raise CheckpointError(
            "Whisper's layers do not fit the encoder: "
            f"{unfilled[:3]} {problems.unexpected_keys[:3]}"
        )
