"""Frames, tokens and chunks are counted as transformers' own classes count them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import Qwen3ASRFeatureExtractor
from transformers.models.qwen3_asr.configuration_qwen3_asr import Qwen3ASREncoderConfig
from transformers.models.qwen3_asr.modeling_qwen3_asr import Qwen3ASREncoder

from megaasr.model.geometry import AudioGeometry

QWEN3_ASR = AudioGeometry()
SMALL = AudioGeometry(hop_samples=40, chunk_frames=12_800, window_frames=12_800)
HALF = AudioGeometry(
    hop_samples=80, n_fft=512, mel_bins=80, chunk_frames=6_100, window_frames=6_100
)
GLOBAL = AudioGeometry(window_frames=360_000)
ALL = {"qwen3-asr": QWEN3_ASR, "small": SMALL, "half": HALF, "global": GLOBAL}


@cache
def encoder(geometry: AudioGeometry) -> Qwen3ASREncoder:
    """The native encoder in miniature."""
    torch.manual_seed(0)
    config = Qwen3ASREncoderConfig(
        num_mel_bins=geometry.mel_bins,
        encoder_layers=1,
        encoder_attention_heads=1,
        encoder_ffn_dim=4,
        d_model=4,
        output_dim=4,
        downsample_hidden_size=1,
        n_window=geometry.chunk_frames // 2,
        n_window_infer=geometry.window_frames,
        max_position_embeddings=geometry.chunk_tokens,
    )
    return Qwen3ASREncoder(config).eval()


def extract(geometry: AudioGeometry, samples: int) -> dict[str, torch.Tensor]:
    """What the native extractor makes of a clip."""
    make: Any = Qwen3ASRFeatureExtractor
    extractor = make(
        hop_length=geometry.hop_samples,
        n_fft=geometry.n_fft,
        feature_size=geometry.mel_bins,
        n_window=geometry.chunk_frames // 2,
    )
    clip = (0.1 * np.random.default_rng(samples).standard_normal(samples)).astype(np.float32)
    options = {"padding": True, "return_attention_mask": True, "return_tensors": "pt"}
    features: dict[str, torch.Tensor] = extractor([clip], sampling_rate=16_000, **options)
    return features


@pytest.mark.parametrize("geometry", ALL.values(), ids=ALL)
@settings(max_examples=15, deadline=None)
@given(samples=st.integers(1, 480_016))
@example(samples=1)
@example(samples=1_600)  # 0.1 s
@example(samples=8_000)
@example(samples=8_039)
@example(samples=479_840)  # 29.99 s
@example(samples=480_000)
@example(samples=480_016)
def test_frames_and_tokens_are_those_of_extractor_and_encoder(
    geometry: AudioGeometry, samples: int
) -> None:
    features = extract(geometry, samples)
    frames = int(features["attention_mask"].sum())
    assert geometry.frames(samples) == frames
    width = features["input_features"].shape[2]
    assert geometry.padded_frames(frames) == width
    assert geometry.chunk_count(width) * geometry.chunk_frames == width
    with torch.inference_mode():
        encoded = encoder(geometry)(features["input_features"], features["attention_mask"])
    assert len(encoded.last_hidden_state) == geometry.audio_tokens(frames)


@pytest.mark.parametrize("geometry", ALL.values(), ids=ALL)
@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 3_000), min_size=2, max_size=4))
@example(lengths=[1, 99])
@example(lengths=[100, 3_000])
def test_a_batch_has_the_tokens_of_its_clips(geometry: AudioGeometry, lengths: list[int]) -> None:
    width = geometry.padded_frames(max(lengths))
    mask = (torch.arange(width) < torch.tensor(lengths).unsqueeze(1)).long()
    features = torch.randn(len(lengths), geometry.mel_bins, width)
    with torch.inference_mode():
        encoded = encoder(geometry)(features, mask)
    tokens = [geometry.audio_tokens(frames) for frames in lengths]
    assert len(encoded.last_hidden_state) == sum(tokens)


def test_the_numbers_that_are_written_down() -> None:
    assert (QWEN3_ASR.frames_per_s, QWEN3_ASR.tokens_per_s, QWEN3_ASR.chunk_tokens) == (100, 13, 13)
    assert (SMALL.frames_per_s, SMALL.tokens_per_s, SMALL.chunk_tokens) == (400, 50, 1_600)
    assert [SMALL.audio_tokens(SMALL.frames(round(16_000 * s))) for s in (0.1, 0.5, 29.99, 30)] == [
        25,
        25,
        1_500,
        1_500,
    ]
    assert [
        QWEN3_ASR.audio_tokens(QWEN3_ASR.frames(round(16_000 * s))) for s in (0.1, 0.5, 29.99, 30)
    ] == [7, 7, 390, 390]
    assert SMALL.frames_in(1.2) == 480
    assert SMALL.seconds(480) == 1.2
