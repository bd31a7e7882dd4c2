"""A new Qwen3-ASR model of the recipe's sizes, initialised for training from scratch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from transformers import (
    PreTrainedTokenizerBase,
    Qwen3ASRConfig,
    Qwen3ASRForConditionalGeneration,
)

from megaasr.model.prompt import AUDIO_PAD, TEXT_END, TURN_END, token_id
from megaasr.train.base.recipe import ArchitectureRecipe
from megaasr.train.processor import greedy_generation


def build_model(
    recipe: ArchitectureRecipe, tokenizer: PreTrainedTokenizerBase, seed: int
) -> Qwen3ASRForConditionalGeneration:
    """Return the native model in float32 with random weights.

    Args:
        recipe: sizes of the model.
        tokenizer: tokenizer of the model.
        seed: seed of the weights.
    """
    config = build_config(recipe, tokenizer)
    torch.manual_seed(seed)
    model = Qwen3ASRForConditionalGeneration(config)
    _initialise(model)
    end, pad = token_id(tokenizer, TURN_END), token_id(tokenizer, TEXT_END)
    model.generation_config = greedy_generation(end, pad)
    return model


def build_config(recipe: ArchitectureRecipe, tokenizer: PreTrainedTokenizerBase) -> Qwen3ASRConfig:
    """Return the native model's configuration."""
    end, pad = token_id(tokenizer, TURN_END), token_id(tokenizer, TEXT_END)
    geometry = recipe.geometry
    return Qwen3ASRConfig(
        audio_config={
            "model_type": "qwen3_asr_encoder",
            "encoder_layers": recipe.encoder_layers,
            "d_model": recipe.encoder_width,
            "encoder_attention_heads": recipe.encoder_heads,
            "encoder_ffn_dim": recipe.encoder_ffn,
            "downsample_hidden_size": recipe.conv_channels,
            "output_dim": recipe.decoder_width,
            "num_mel_bins": geometry.mel_bins,
            "n_window": geometry.chunk_frames // 2,
            "n_window_infer": geometry.window_frames,
            "max_position_embeddings": geometry.chunk_tokens,
        },
        text_config={
            "model_type": "qwen3",
            "vocab_size": len(tokenizer),
            "hidden_size": recipe.decoder_width,
            "intermediate_size": recipe.decoder_ffn,
            "num_hidden_layers": recipe.decoder_layers,
            "num_attention_heads": recipe.decoder_heads,
            "num_key_value_heads": recipe.decoder_kv_heads,
            "head_dim": recipe.decoder_head_size,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": True,
            "eos_token_id": [end, pad],
            "pad_token_id": pad,
        },
        audio_token_id=token_id(tokenizer, AUDIO_PAD),
        # Only the forced aligner uses it; the default lies outside a small vocabulary.
        timestamp_token_id=pad,
        pad_token_id=pad,
        eos_token_id=[end, pad],
    )


def _initialise(model: Qwen3ASRForConditionalGeneration) -> None:
    """Give the model variance-preserving weights.

    The native initialiser (standard deviation 0.02 everywhere) is meant for checkpoints that are
    loaded afterwards: at toy width the audio would leave the convolutions a hundred times weaker
    than the position embedding.
    """
    config: Any = model.config
    depth = config.text_config.num_hidden_layers + config.audio_config.encoder_layers
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        elif isinstance(module, nn.Linear) and name != "lm_head":
            std = 1 / math.sqrt(module.in_features)
            # The deeper the network, the smaller the layers that write into the residual stream.
            if name.endswith(("out_proj", "o_proj", "fc2", "down_proj")):
                std /= math.sqrt(depth)
            nn.init.normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
