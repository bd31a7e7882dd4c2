"""Checkpoints whose weights are stored in 8 bits: written once, loaded without quantising again.

The layout is that of the original checkpoint, native or not. The weight of each linear layer and of
the token embedding is stored as int8, beside `weight_scale` (see `model.int8`), and `config.json`
names the method and the fingerprint of the weights that were quantised.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from megaasr import strict_json
from megaasr.atomic import atomic_path, write_atomically
from megaasr.derived_folder import DerivedFolder
from megaasr.errors import UsageError
from megaasr.model.empty_model import empty_model
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
    base_fingerprint = fingerprint(parts.base)
    copy = DerivedFolder(
        parts.base,
        "model",
        output,
        MARKER,
        {"int8_schema": 1, "base_fingerprint": base_fingerprint},
        "is a copy of another model",
    )
    if copy.is_complete():
        return False
    copy.begin(_NOT_COPIED)
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
    copy.finish()
    return True


def _int8_layers(base: Path) -> set[str]:
    """Return the native names of the layers that have 8-bit weights."""
    model = replace_layers(empty_model(model_config(base)))
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
