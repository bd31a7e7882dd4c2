"""The native feature extractor and processor of a model that is trained here."""

from __future__ import annotations

from importlib import resources
from typing import Any

from transformers import PreTrainedTokenizerBase, Qwen3ASRFeatureExtractor, Qwen3ASRProcessor

from megaasr.model.geometry import AudioGeometry


def build_extractor(geometry: AudioGeometry) -> Qwen3ASRFeatureExtractor:
    """Return the native feature extractor of a geometry."""
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
    """Return the native processor around a tokenizer, with the chat template of Qwen3-ASR."""
    template = (resources.files("megaasr.model") / "chat_template.jinja").read_text("utf-8")
    return Qwen3ASRProcessor(
        feature_extractor=build_extractor(geometry),
        tokenizer=tokenizer,
        chat_template=template,
    )
