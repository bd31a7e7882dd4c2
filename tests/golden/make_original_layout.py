"""Write original_layout/: a random Qwen3-ASR as the authors' package saves it, and its logits.

In an environment of its own (the package needs an older transformers than ours):

    pip install "qwen-asr==0.0.6" "transformers==4.57.6"
    python tests/golden/make_original_layout.py

Nothing of megaasr is used: configuration, keys and logits are the package's own. The tokenizer is a
byte alphabet with Qwen's special tokens in the files that Qwen ships (vocab.json, merges.txt,
tokenizer_config.json).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).with_name("original_layout")
LENGTHS_S = (1.0, 2.6, 9.4)  # whole seconds, a part of one, and beyond the 8 s attention window
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|audio_start|>",
    "<|audio_end|>",
    "<|audio_pad|>",
)
ASR_TEXT = "<asr_text>"


def sound(length_s: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A sound that is the same everywhere: chirps under a slow envelope, 16 kHz."""
    time = np.arange(round(length_s * 16_000)) / 16_000
    envelope = 0.3 * (1 + np.sin(2 * np.pi * 2.3 * time)) / 2
    return (envelope * np.sin(2 * np.pi * (200 * time + 300 * time**2 % 50))).astype(np.float32)


def byte_alphabet() -> list[str]:
    """The characters that stand for the 256 bytes in byte-level BPE."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    shown = {byte: chr(byte) for byte in plain}
    shown |= {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [shown[byte] for byte in range(256)]


def write_tokenizer() -> dict[str, int]:
    """Write the three files and return the ids of all tokens."""
    vocab = {token: i for i, token in enumerate(byte_alphabet())}
    added = {token: len(vocab) + i for i, token in enumerate((*SPECIAL, ASR_TEXT))}
    (FOLDER / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    (FOLDER / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    decoder = {
        str(number): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": token != ASR_TEXT,
        }
        for token, number in added.items()
    }
    config = {
        "added_tokens_decoder": decoder,
        "add_prefix_space": False,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "errors": "replace",
        "model_max_length": 131072,
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
        "bos_token": None,
    }
    (FOLDER / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
    return {**vocab, **added}


def prompt(ids: dict[str, int], audio: int) -> list[int]:
    """Qwen3-ASR's prompt, byte by byte."""

    def text(words: str) -> list[int]:
        alphabet = byte_alphabet()
        return [ids[alphabet[byte]] for byte in words.encode()]

    start, end = ids["<|im_start|>"], ids["<|im_end|>"]
    return [
        *(start, *text("system\n"), end, *text("\n")),
        *(start, *text("user\n"), ids["<|audio_start|>"]),
        *[ids["<|audio_pad|>"]] * audio,
        *(ids["<|audio_end|>"], end, *text("\n")),
        *(start, *text("assistant\n")),
    ]


def main() -> None:
    """Make the model, save it, and store the logits of the last position for each sound."""
    from qwen_asr.core.transformers_backend import (
        Qwen3ASRConfig,
        Qwen3ASRForConditionalGeneration,
    )
    from transformers import WhisperFeatureExtractor

    FOLDER.mkdir(exist_ok=True)
    ids = write_tokenizer()
    config = Qwen3ASRConfig(
        thinker_config={
            "audio_token_id": ids["<|audio_pad|>"],
            "audio_start_token_id": ids["<|audio_start|>"],
            "audio_config": {
                "d_model": 16,
                "encoder_layers": 2,
                "encoder_attention_heads": 2,
                "encoder_ffn_dim": 32,
                "downsample_hidden_size": 4,
                "output_dim": 16,
                "n_window": 50,
                "n_window_infer": 800,
                "num_mel_bins": 128,
            },
            "text_config": {
                "vocab_size": 272,
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "head_dim": 8,
                "max_position_embeddings": 65536,
                "rope_theta": 1000000.0,
                "rope_scaling": {
                    "interleaved": True,
                    "mrope_interleaved": True,
                    "mrope_section": [2, 1, 1],
                    "rope_type": "default",
                    "type": "default",
                },
                "tie_word_embeddings": True,
            },
        },
        support_languages=["English", "Chinese"],
    )
    torch.manual_seed(0)
    model = Qwen3ASRForConditionalGeneration(config).float().eval()
    for parameter in model.parameters():  # far from the initialiser's near-zero outputs
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1.5 / parameter[0].numel() ** 0.5)
    model.tie_weights()
    model.save_pretrained(FOLDER)
    generation = {"eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]]}
    generation |= {"pad_token_id": ids["<|endoftext|>"], "do_sample": False}
    (FOLDER / "generation_config.json").write_text(json.dumps(generation, indent=1))
    extractor = WhisperFeatureExtractor(feature_size=128)
    extractor.save_pretrained(FOLDER)
    stored = {}
    for length_s in LENGTHS_S:
        features = extractor(
            sound(length_s),
            sampling_rate=16_000,
            padding=True,
            truncation=False,
            return_attention_mask=True,
            return_tensors="pt",
        )
        frames = int(features["attention_mask"].sum())
        rest = frames % 100
        for _ in range(3):
            rest = (rest + 1) // 2
        tokens = torch.tensor([prompt(ids, frames // 100 * 13 + rest)])
        with torch.no_grad():
            out = model.thinker(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                input_features=features["input_features"],
                feature_attention_mask=features["attention_mask"],
            )
        stored[f"logits_{length_s}"] = out.logits[0, -1].numpy()
        stored[f"ids_{length_s}"] = tokens[0].numpy()
    np.savez_compressed(FOLDER / "logits.npz", **stored)


if __name__ == "__main__":
    main()
