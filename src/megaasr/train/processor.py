"""The native feature extractor, processor and generation settings of a model trained here."""

from __future__ import annotations

from importlib import resources
from typing import Any

from transformers import (
    GenerationConfig,
    PreTrainedTokenizerBase,
    Qwen3ASRFeatureExtractor,
    Qwen3ASRProcessor,
)

from megaasr.model.geometry import AudioGeometry


def build_extractor(geometry: AudioGeometry) -> Qwen3ASRFeatureExtractor:
    """Return the native feature extractor of an audio geometry."""
    make_extractor: Any = Qwen3ASRFeatureExtractor
    extractor: Qwen3ASRFeatureExtractor = make_extractor(
        sampling_rate=geometry.sample_rate,
        hop_length=geometry.hop_samples,
        n_fft=geometry.n_fft,
        feature_size=geometry.mel_bins,
        min_length=geometry.min_samples,
        n_window=geometry.chunk_frames // 2,
    )
    return extractor


def build_processor(
    geometry: AudioGeometry, tokenizer: PreTrainedTokenizerBase
) -> Qwen3ASRProcessor:
    """Return the native processor around a tokenizer, with the chat template of Qwen3-ASR.

    Args:
        geometry: audio geometry of the model.
        tokenizer: tokenizer of the model.
    """
    template = (resources.files("megaasr.model") / "chat_template.jinja").read_text("utf-8")
    return Qwen3ASRProcessor(
        feature_extractor=build_extractor(geometry),
        tokenizer=tokenizer,
        chat_template=template,
    )


def greedy_generation(end: int, pad: int) -> GenerationConfig:
    """Return the generation settings of a model: greedy decoding.

    Args:
        end: id of the token that ends the assistant's turn.
        pad: id of the padding token, which ends the output, too.
    """
    settings = {"eos_token_id": [end, pad], "pad_token_id": pad, "do_sample": False}
    return GenerationConfig.from_dict(settings)
