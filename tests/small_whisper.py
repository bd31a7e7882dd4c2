"""A random Whisper of toy size in CTranslate2's layout, for tests of the stages of `small`."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WIDTH, LAYERS, HEADS, FFN, MEL_BINS, VOCABULARY = 32, 2, 2, 64, 80, 51865
_TYPES = {np.dtype(np.float32): 0, np.dtype(np.int16): 2, np.dtype(np.float16): 4}


def write_whisper(folder: Path, *, width: int = WIDTH) -> dict[str, NDArray[np.generic]]:
    """Write `model.bin` and `tokenizer.json`; return the variables."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)

    def random(*shape: int) -> NDArray[np.float16]:
        return rng.normal(0, 0.1, shape).astype(np.float16)

    arrays: dict[str, NDArray[np.generic]] = {
        "encoder/conv1/weight": random(width, MEL_BINS, 3),
        "encoder/conv1/bias": random(width),
        "encoder/conv2/weight": random(width, width, 3),
        "encoder/conv2/bias": random(width),
        "encoder/num_heads": np.array(HEADS, np.int16),
        "decoder/num_heads": np.array(HEADS, np.int16),
        "encoder/position_encodings/encodings": random(1500, width),
        "decoder/position_encodings/encodings": random(448, width),
        "decoder/embeddings/weight": random(VOCABULARY, width),
    }
    for side in ("encoder", "decoder"):
        arrays |= {f"{side}/layer_norm/{kind}": random(width) for kind in ("gamma", "beta")}
        for layer in range(LAYERS):
            prefix = f"{side}/layer_{layer}"
            blocks = {"self_attention": (3 * width, width), "ffn": (FFN, width)}
            if side == "decoder":
                blocks["attention"] = (width, 2 * width, width)
            for block, sizes in blocks.items():
                for kind in ("gamma", "beta"):
                    arrays[f"{prefix}/{block}/layer_norm/{kind}"] = random(width)
                for number, size in enumerate(sizes):
                    inputs = FFN if (block, number) == ("ffn", 1) else width
                    arrays[f"{prefix}/{block}/linear_{number}/weight"] = random(size, inputs)
                    arrays[f"{prefix}/{block}/linear_{number}/bias"] = random(size)
    write_ctranslate2(folder / "model.bin", arrays)
    vocabulary = {f"w{number} ": number for number in range(300)}
    tokenizer = {
        "version": "1.0",
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w0 "},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return arrays


def write_ctranslate2(
    path: Path, arrays: Mapping[str, NDArray[np.generic]], *, version: int = 6
) -> None:
    """Write variables in the binary layout of a CTranslate2 model."""

    def text(value: str) -> bytes:
        encoded = value.encode() + b"\0"
        return struct.pack("<H", len(encoded)) + encoded

    parts = [struct.pack("<I", version), text("WhisperSpec"), struct.pack("<II", 3, len(arrays))]
    for name, values in arrays.items():
        data = values.tobytes()
        parts += [
            text(name),
            struct.pack("<B", values.ndim),
            *[struct.pack("<I", size) for size in values.shape],
            struct.pack("<BI", _TYPES[values.dtype], len(data)),
            data,
        ]
    aliases = {"decoder/projection/weight": "decoder/embeddings/weight"}
    parts.append(struct.pack("<I", len(aliases)))
    parts += [text(name) + text(target) for name, target in aliases.items()]
    path.write_bytes(b"".join(parts))
