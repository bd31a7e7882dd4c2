"""Reads an adapter in PEFT's layout, including the rank blocks of the released one.

A folder holds `adapter_config.json`, `adapter_model.safetensors` and, optionally,
`mega_lora_blocks.json`. If several adapters were joined along the rank, the latter lists for each
module blocks of ranks `{start, end, rank, alpha}`, each with its own scale alpha / rank. Scales are
folded into B, so that a module's change is B A and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from megaasr.adapter.names import native_name, split_key, trained_name
from megaasr.adapter.peft_config import CONFIG_FILE, require_plain_lora
from megaasr.errors import CheckpointError
from megaasr.hashing import file_sha256

WEIGHTS_FILE = "adapter_model.safetensors"
BLOCKS_FILE = "mega_lora_blocks.json"
FINGERPRINT_KEY = "base_fingerprint"
"""Key in the metadata of the weights: fingerprint of the base that the adapter was trained on."""


@dataclass(frozen=True, slots=True)
class LowRank:
    """The change of one linear layer: W becomes W + b a.

    Attributes:
        a: float32 of shape [rank, inputs].
        b: float32 of shape [outputs, rank], with the scale folded in.
    """

    a: torch.Tensor
    b: torch.Tensor

    @property
    def rank(self) -> int:
        """The rank of the change."""
        return int(self.a.shape[0])

    def joined_with(self, change: LowRank) -> LowRank:
        """Return the sum of this and another change of the layer, joined along the rank."""
        return LowRank(torch.cat([self.a, change.a]), torch.cat([self.b, change.b], dim=1))

    def delta(self) -> torch.Tensor:
        """Return the change b a, float32 of shape [outputs, inputs]."""
        return self.b @ self.a


@dataclass(frozen=True)
class Adapter:
    """A low-rank adapter for the native model.

    Attributes:
        name: name of the folder it was read from.
        layers: changes by the native names of the modules.
        sha256: see `adapter_sha256`; empty if it was not read from a folder.
        base: name of the model it was trained on, according to `adapter_config.json`; None if that
            names none.
        base_fingerprint: fingerprint of the weights it was trained on, see `megaasr.model.parts`;
            None if the file has none.
    """

    name: str
    layers: Mapping[str, LowRank]
    sha256: str
    base: str | None = None
    base_fingerprint: str | None = None

    @property
    def parameters(self) -> int:
        """The number of parameters of all layers."""
        return sum(layer.a.numel() + layer.b.numel() for layer in self.layers.values())


def is_adapter(folder: Path) -> bool:
    """Tell whether a folder holds an adapter."""
    return (folder / CONFIG_FILE).is_file()


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter.

    Raises:
        CheckpointError: files are missing or damaged, the weights are a pickle, or the
            configuration holds anything but low-rank changes of linear layers that we reproduce
            exactly (DoRA, biases, complete modules, PiSSA, …; see `megaasr.adapter.peft_config`).
    """
    from safetensors import safe_open
    from safetensors.torch import load_file

    config = _read_json(folder / CONFIG_FILE)
    require_plain_lora(config, folder)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        why = "adapter_model.bin is refused: a pickle can run code" if pickled else "it is missing"
        raise CheckpointError(f"{folder} has no {WEIGHTS_FILE} ({why})")
    try:
        tensors = load_file(weights)
        with safe_open(weights, "pt") as file:
            metadata = file.metadata() or {}
    except Exception as error:  # safetensors has exceptions of its own
        raise CheckpointError(f"{weights} cannot be read: {error}") from error
    blocks = folder / BLOCKS_FILE
    layers = _layers(tensors, config, _read_json(blocks) if blocks.is_file() else {}, folder)
    base = config.get("base_model_name_or_path")
    return Adapter(
        folder.name,
        layers,
        adapter_sha256(folder),
        base=base,
        base_fingerprint=metadata.get(FINGERPRINT_KEY),
    )


def adapter_sha256(folder: Path) -> str:
    """Return a hash of all that an adapter's changes depend on: its weights and their scales.

    Raises:
        OSError: a file is missing or cannot be read.
    """
    files = [folder / WEIGHTS_FILE, folder / CONFIG_FILE]
    if (folder / BLOCKS_FILE).is_file():
        files.append(folder / BLOCKS_FILE)
    lines = [f"{file_sha256(file)} {file.name}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _layers(
    tensors: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    blocks: Mapping[str, Any],
    folder: Path,
) -> dict[str, LowRank]:
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        module_and_part = split_key(key)
        if module_and_part is None:
            raise CheckpointError(f"{folder}: {key} is no part of a low-rank adapter")
        module, part = trained_name(module_and_part[0]), module_and_part[1]
        if part in parts.setdefault(module, {}):
            raise CheckpointError(f"{folder}: two tensors for {module}, lora_{part}")
        parts[module][part] = tensor.float()
    blocks = {trained_name(module): of_module for module, of_module in blocks.items()}
    unknown = sorted(set(blocks) - set(parts))
    if unknown:
        raise CheckpointError(f"{folder}/{BLOCKS_FILE} lists {unknown[0]}, which has no weights")
    layers: dict[str, LowRank] = {}
    for module, pair in parts.items():
        change = _low_rank(module, pair, config, blocks=blocks.get(module), folder=folder)
        native = native_name(module)
        # A file may name a layer in two ways, each with its own weights (apparently the released
        # one does: it lists 539 modules, 196 more than exist); both changes are added.
        layers[native] = layers[native].joined_with(change) if native in layers else change
    return layers


def _low_rank(
    module: str,
    pair: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    *,
    blocks: Sequence[Mapping[str, Any]] | None,
    folder: Path,
) -> LowRank:
    if set(pair) != {"A", "B"}:
        raise CheckpointError(f"{folder}: {module} has lora_{next(iter(pair))} only")
    a, b = pair["A"], pair["B"]
    if a.dim() != 2 or b.dim() != 2 or a.shape[0] != b.shape[1]:
        raise CheckpointError(
            f"{folder}: {module}: lora_A {tuple(a.shape)} and lora_B {tuple(b.shape)} do not fit"
        )
    if blocks is not None:
        return LowRank(a, b * _block_scales(blocks, int(a.shape[0]), module, folder))
    rank = int(_pattern(config.get("rank_pattern"), module, config["r"]))
    if rank != a.shape[0]:
        raise CheckpointError(
            f"{folder}: {module} has rank {a.shape[0]}, {CONFIG_FILE} says {rank}"
        )
    alpha = float(_pattern(config.get("alpha_pattern"), module, config["lora_alpha"]))
    return LowRank(a, b * (alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)))


def _pattern(patterns: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    """Return the value of the first pattern that matches a module, by PEFT's rules.

    Module and patterns may be spelled differently; the spelling of training has priority.
    """
    for name in (module, native_name(module)):
        for pattern, value in (patterns or {}).items():
            if re.match(rf"(.*\.)?({trained_name(pattern)})$", name):
                return value
    for pattern, value in (patterns or {}).items():
        if native_name(pattern) == native_name(module):
            return value
    return default


def _block_scales(
    blocks: Sequence[Mapping[str, Any]], rank: int, module: str, folder: Path
) -> torch.Tensor:
    """Return the scale of each column of B, float32 of shape [rank]."""
    scales = torch.zeros(rank)
    covered = 0
    for block in sorted(blocks, key=lambda block: int(block["start"])):
        start, end = int(block["start"]), int(block["end"])
        if start != covered or end <= start or end > rank:
            raise CheckpointError(
                f"{folder}/{BLOCKS_FILE}: {module}: the blocks do not cover rank 0 to {rank}"
            )
        scales[start:end] = float(block["alpha"]) / float(block["rank"])
        covered = end
    if covered != rank:
        raise CheckpointError(
            f"{folder}/{BLOCKS_FILE}: {module}: the blocks end at {covered}, the rank is {rank}"
        )
    return scales


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a JSON object")
    return content
