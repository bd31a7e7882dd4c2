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
from megaasr.adapter.peft_layout import read_adapter
from megaasr.atomic import atomic_path, write_atomically
from megaasr.derived_folder import INT8_MARKER, DerivedFolder
from megaasr.errors import UsageError
from megaasr.hashing import file_sha256
from megaasr.model.empty_model import empty_model
from megaasr.model.int8 import Int8Embedding, Int8Linear, quantize_weight, replace_layers
from megaasr.model.layout import (
    INT8_METHOD,
    is_stored_int8,
    model_config,
    native_key,
    read_config,
)
from megaasr.model.parts import ADAPTER, ROUTER, ModelParts, fingerprint, require_outside
from megaasr.progress import OnProgress

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
        UsageError: the base has 8-bit weights already, the folder holds something else or lies in
            that of the model, or another process is at work in it.
        CheckpointError: base or adapter is damaged.
    """
    if is_stored_int8(parts.base):
        raise UsageError(f"{parts.base} has 8-bit weights already")
    require_outside(output, parts)
    if parts.adapter is not None:
        read_adapter(parts.adapter)
    base_fingerprint = fingerprint(parts.base)
    beside = _files_beside(parts)
    copy = DerivedFolder(
        parts.base,
        "model",
        output,
        INT8_MARKER,
        {
            "int8_schema": 2,
            "base_fingerprint": base_fingerprint,
            "parts": {name: file_sha256(file) for name, file in beside.items()},
        },
        "is a copy of another model",
        _NOT_COPIED,
    )
    with copy.opened() as is_complete:
        if not is_complete:
            copy.begin()
            for name, file in beside.items():
                (output / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(file, output / name)
            _write_base(parts.base, output, base_fingerprint, on_file)
            copy.finish()
    return not is_complete


def _files_beside(parts: ModelParts) -> dict[str, Path]:
    """Return the files of adapter and router, by their names in the copy."""
    files: dict[str, Path] = {}
    for folder, name in ((parts.adapter, ADAPTER), (parts.router and parts.router.parent, ROUTER)):
        if folder is not None:
            files |= {f"{name}/{path.name}": path for path in sorted(folder.iterdir())}
    return {name: path for name, path in files.items() if path.is_file()}


def _write_base(base: Path, output: Path, base_fingerprint: str, on_file: OnProgress) -> None:
    """Write the weights, and the configuration that describes them."""
    layers = _int8_layers(base)
    files = sorted(base.glob("*.safetensors"))
    weight_map: dict[str, str] = {}
    for number, file in enumerate(files, 1):
        written = _write_file(file, layers, output / file.name)
        weight_map.update(dict.fromkeys(written, file.name))
        on_file(number, len(files))
    if (base / _INDEX).is_file():
        index = json.loads((base / _INDEX).read_text(encoding="utf-8"))
        index["weight_map"] = weight_map
        write_atomically(output / _INDEX, strict_json.dumps(index, indent=1))
    quantization = {"quant_method": INT8_METHOD, "base_fingerprint": base_fingerprint}
    config = {**read_config(base), "quantization_config": quantization}
    write_atomically(output / "config.json", strict_json.dumps(config, indent=1))


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
