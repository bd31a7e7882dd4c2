"""Checkpoints whose weights are stored in 8 bits: written once, loaded without quantising again.

The layout is that of the original checkpoint, native or not. The weight of each linear layer and of
the token embedding is stored as int8, beside `weight_scale` (see `model.int8`), and `config.json`
names the method and the fingerprint of the weights that were quantised.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from megaasr import strict_json
from megaasr.atomic import atomic_path, write_atomically
from megaasr.errors import UsageError
from megaasr.folder_claim import FolderClaim
from megaasr.model.int8 import METHOD, Int8Embedding, Int8Linear, quantize_weight, replace_layers
from megaasr.model.layout import is_stored_int8, model_config, native_key, read_config
from megaasr.model.parts import ADAPTER, ROUTER, ModelParts, fingerprint
from megaasr.progress import OnProgress

MARKER = "mega_asr_int8.json"
_INDEX = "model.safetensors.index.json"
_NOT_COPIED = ("README.md", "parts.json", "results.json", _INDEX, "config.json")
"""Files that describe the exact weights and their measured results, or that are rewritten."""


def write_int8(
    parts: ModelParts, output: Path, *, on_file: OnProgress = lambda done, total: None
) -> bool:
    """Write a copy of a model with 8-bit weights; adapter and router are copied as they are.

    Args:
        parts: base, adapter and router; the base in either layout.
        output: a new folder, or that of an earlier copy of the same base, which may be incomplete.
        on_file: called with the number of written weight files and their total number.

    Returns:
        Whether anything was written; False if the folder already held this copy.

    Raises:
        UsageError: the base has 8-bit weights already, or the folder holds something else.
        CheckpointError: the base is damaged.
    """
    if is_stored_int8(parts.base):
        raise UsageError(f"{parts.base} has 8-bit weights already")
    if output.exists() and parts.base.resolve() == output.resolve():
        raise UsageError(f"{output} is the model itself; choose another folder")
    base_fingerprint = fingerprint(parts.base)
    claim = FolderClaim(output, MARKER, "is a copy of another model", outputs="*")
    recorded = claim.read()
    inputs = {"int8_schema": 1, "base_fingerprint": base_fingerprint}
    if recorded is not None:
        claim.require_same({name: recorded.get(name) for name in inputs}, inputs)
        if recorded.get("complete"):
            return False
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(claim.path, strict_json.dumps({**inputs, "complete": False}, indent=1))
    for source in sorted(path for path in parts.base.iterdir() if path.is_file()):
        if source.suffix != ".safetensors" and source.name not in _NOT_COPIED:
            shutil.copyfile(source, output / source.name)
    for folder, name in ((parts.adapter, ADAPTER), (parts.router and parts.router.parent, ROUTER)):
        if folder is not None:
            shutil.copytree(folder, output / name, dirs_exist_ok=True)
    layers = _int8_layers(parts.base)
    files = sorted(parts.base.glob("*.safetensors"))
    weight_map: dict[str, str] = {}
    for number, file in enumerate(files, 1):
        written = _write_file(file, layers, output / file.name)
        weight_map.update(dict.fromkeys(written, file.name))
        on_file(number, len(files))
    if (parts.base / _INDEX).is_file():
        index = json.loads((parts.base / _INDEX).read_text(encoding="utf-8"))
        index["weight_map"] = weight_map
        write_atomically(output / _INDEX, strict_json.dumps(index, indent=1))
    quantization = {"quant_method": METHOD, "base_fingerprint": base_fingerprint}
    config = {**read_config(parts.base), "quantization_config": quantization}
    write_atomically(output / "config.json", strict_json.dumps(config, indent=1))
    write_atomically(claim.path, strict_json.dumps({**inputs, "complete": True}, indent=1))
    return True


def _int8_layers(base: Path) -> set[str]:
    """Return the native names of the layers that have 8-bit weights."""
    from transformers import Qwen3ASRForConditionalGeneration

    with torch.device("meta"):
        model: Any = replace_layers(Qwen3ASRForConditionalGeneration(model_config(base)))
    return {
        name
        for name, module in model.named_modules()
        if isinstance(module, Int8Linear | Int8Embedding)
    }


def _write_file(file: Path, layers: set[str], target: Path) -> list[str]:
    """Write one file of weights, quantised; return the names of its tensors."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    with safe_open(file, "pt") as stored:
        metadata = stored.metadata()
        for key in stored.keys():  # noqa: SIM118 (the file is not a mapping)
            layer, _, parameter = native_key(key).rpartition(".")
            weight = stored.get_tensor(key)
            if parameter == "weight" and layer in layers:
                tensors[key], tensors[f"{key}_scale"] = quantize_weight(weight)
            else:
                tensors[key] = weight
    with atomic_path(target) as part:
        save_file(tensors, part, metadata)
    return list(tensors)
