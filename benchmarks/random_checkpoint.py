"""Checkpoints and adapters with random weights in the shape of the 1.7B.

Speed does not depend on the words. No token that ends an output, or that the tokenizer does not
have, is ever the most probable: the rows of the embedding that score them are zero, so that every
system generates as many tokens as it may.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megaasr import strict_json

if TYPE_CHECKING:
    from megaasr.adapter.peft_layout import Adapter

BASE = "Qwen3-ASR-1.7B"
"""Folder of the base in a folder with the released layout."""
RANK = 64
"""Rank of the adapter in every layer."""
_AUDIO_FIELDS = (
    *("num_mel_bins", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "d_model"),
    *("n_window", "n_window_infer", "output_dim", "downsample_hidden_size"),
)
_TEXT_FIELDS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings"),
    *("rms_norm_eps", "tie_word_embeddings"),
)


def write_native(folder: Path, *, quick: bool) -> float:
    """Write a native checkpoint in bfloat16; return its millions of parameters.

    Args:
        folder: folder of the checkpoint.
        quick: a toy size instead of the 1.7B's.
    """
    model, processor = _random_model(quick)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return _millions(model)


def write_released(folder: Path, *, quick: bool) -> float:
    """Write base and adapter as they were released; return the base's millions of parameters.

    Args:
        folder: folder of the model; the base is written in the original layout.
        quick: a toy size instead of the 1.7B's, and an adapter of a low rank.
    """
    import torch

    from megaasr.adapter.write import write_adapter
    from megaasr.model.parts import ADAPTER, fingerprint

    model, processor = _random_model(quick)
    base = folder / BASE
    _write_original(base, model, processor)
    write_adapter(
        _random_adapter(model, 4 if quick else RANK),
        folder / ADAPTER,
        base=BASE,
        fingerprint=fingerprint(base),
        dtype=torch.bfloat16,
    )
    return _millions(model)


def _random_model(quick: bool) -> tuple[Any, Any]:
    """Return a native model in bfloat16, and its processor."""
    import torch
    from transformers import Qwen3ASRForConditionalGeneration

    from megaasr.model.inputs import end_token_ids
    from megaasr.train.base.architecture import build_config
    from megaasr.train.base.recipe import ArchitectureRecipe
    from megaasr.train.processor import build_processor
    from megaasr.train.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(["The quick brown fox jumps over the lazy dog."], 340)
    sizes = ArchitectureRecipe(
        vocabulary_size=340,
        encoder_layers=2 if quick else 24,
        encoder_width=64 if quick else 1024,
        encoder_heads=4 if quick else 16,
        encoder_ffn=128 if quick else 4096,
        conv_channels=16 if quick else 480,
        decoder_layers=2 if quick else 28,
        decoder_width=64 if quick else 2048,
        decoder_heads=4 if quick else 16,
        decoder_kv_heads=2 if quick else 8,
        decoder_head_size=16 if quick else 128,
        decoder_ffn=128 if quick else 6144,
    )
    config: Any = build_config(sizes, tokenizer)
    config.text_config.vocab_size = 340 if quick else 151_936
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    torch.manual_seed(1)
    try:
        model: Any = Qwen3ASRForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    silent = {*end_token_ids(config), *tokenizer.all_special_ids}
    with torch.no_grad():
        rows = model.get_input_embeddings().weight
        rows[len(tokenizer) :] = 0
        rows[sorted(silent)] = 0
    return model, build_processor(sizes.geometry, tokenizer)


def _millions(model: Any) -> float:
    return float(sum(p.numel() for p in model.parameters()) / 1e6)


def _random_adapter(model: Any, rank: int) -> Adapter:
    """Return changes of all linear layers but the output, as large as those of a trained one."""
    import torch

    from megaasr.adapter.peft_layout import Adapter, LowRank

    generator = torch.Generator().manual_seed(2)
    layers = {
        name: LowRank(
            torch.randn(rank, module.in_features, generator=generator) / module.in_features**0.5,
            0.02 * torch.randn(module.out_features, rank, generator=generator),
        )
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    }
    return Adapter("random", layers, "")


def _write_original(folder: Path, model: Any, processor: Any) -> None:
    """Write a native model in the layout of the authors' package."""
    from safetensors.torch import save_file

    from megaasr.model.layout import original_key

    folder.mkdir(parents=True)
    tensors = {
        original_key(name): tensor.contiguous()
        for name, tensor in model.state_dict().items()
        if not name.startswith("lm_head.")  # tied to the embedding
    }
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    _write_json(folder / "config.json", _original_config(model.config))
    end_ids = sorted(model.config.eos_token_id)
    generation = {"eos_token_id": end_ids, "pad_token_id": model.config.pad_token_id}
    _write_json(folder / "generation_config.json", {**generation, "do_sample": False})
    extractor = processor.feature_extractor
    _write_json(
        folder / "preprocessor_config.json",
        {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "processor_class": "Qwen3ASRProcessor",
            "feature_size": extractor.feature_size,
            "sampling_rate": extractor.sampling_rate,
            "hop_length": extractor.hop_length,
            "n_fft": extractor.n_fft,
            "chunk_length": 30,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": True,
        },
    )
    _write_tokenizer(folder, processor.tokenizer)
    template = (resources.files("megaasr.model") / "chat_template.jinja").read_text("utf-8")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def _original_config(config: Any) -> dict[str, Any]:
    audio, text = config.audio_config, config.text_config
    half = text.head_dim // 2
    side = half * 5 // 16  # of three axes of positions, which are equal for audio and text
    return {
        "architectures": ["Qwen3ASRForConditionalGeneration"],
        "model_type": "qwen3_asr",
        "dtype": "bfloat16",
        "support_languages": ["English"],
        "thinker_config": {
            "model_type": "qwen3_asr_thinker",
            "audio_token_id": config.audio_token_id,
            "audio_config": {
                "model_type": "qwen3_asr_audio_encoder",
                **{name: getattr(audio, name) for name in _AUDIO_FIELDS},
            },
            "text_config": {
                "model_type": "qwen3_asr_text",
                **{name: getattr(text, name) for name in _TEXT_FIELDS},
                "rope_theta": text.rope_parameters["rope_theta"],
                "rope_scaling": {
                    "mrope_interleaved": True,
                    "mrope_section": [half - 2 * side, side, side],
                    "rope_type": "default",
                },
            },
        },
    }


def _write_tokenizer(folder: Path, tokenizer: Any) -> None:
    """Write the files of Qwen's slow tokenizer: vocabulary, merges and special tokens."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    _write_json(folder / "vocab.json", model["vocab"])
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    added = {
        str(number): {
            "content": token.content,
            "lstrip": token.lstrip,
            "normalized": token.normalized,
            "rstrip": token.rstrip,
            "single_word": token.single_word,
            "special": token.special,
        }
        for number, token in tokenizer.added_tokens_decoder.items()
    }
    settings = {
        "added_tokens_decoder": added,
        "add_prefix_space": False,
        "bos_token": None,
        "eos_token": tokenizer.eos_token,
        "pad_token": tokenizer.pad_token,
        "unk_token": None,
        "errors": "replace",
        "extra_special_tokens": {
            name: getattr(tokenizer, name)
            for name in ("audio_bos_token", "audio_eos_token", "audio_token")
        },
        "model_max_length": 131_072,
        "tokenizer_class": "Qwen2Tokenizer",
    }
    _write_json(folder / "tokenizer_config.json", settings)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    text = strict_json.dumps(content, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
