"""The sizes of the released Qwen3-ASR models, for arithmetic without their files."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import Qwen3ASRConfig

RELEASED_SHAPES: dict[str, dict[str, dict[str, int]]] = {
    "Qwen3-ASR-0.6B": {
        "audio_config": {
            "encoder_layers": 18,
            "d_model": 896,
            "encoder_attention_heads": 14,
            "encoder_ffn_dim": 3584,
        },
        "text_config": {"hidden_size": 1024, "intermediate_size": 3072},
    },
    "Qwen3-ASR-1.7B": {
        "audio_config": {
            "encoder_layers": 24,
            "d_model": 1024,
            "encoder_attention_heads": 16,
            "encoder_ffn_dim": 4096,
        },
        "text_config": {"hidden_size": 2048, "intermediate_size": 6144},
    },
}
"""What differs between the released models: fields of their native configurations, by name."""
_AUDIO = {"downsample_hidden_size": 480, "num_mel_bins": 128, "n_window": 50, "n_window_infer": 800}
_TEXT = {
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151_936,
}


def released_config(name: str) -> Qwen3ASRConfig:
    """Return the native configuration of a released model, as far as sizes are concerned.

    Args:
        name: key of `RELEASED_SHAPES`.
    """
    from transformers import Qwen3ASRConfig

    audio, text = RELEASED_SHAPES[name]["audio_config"], RELEASED_SHAPES[name]["text_config"]
    return Qwen3ASRConfig(
        audio_config={
            "model_type": "qwen3_asr_encoder",
            **_AUDIO,
            **audio,
            "output_dim": text["hidden_size"],
        },
        text_config={"model_type": "qwen3", **_TEXT, **text, "tie_word_embeddings": True},
        tie_word_embeddings=True,
    )
