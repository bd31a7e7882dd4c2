"""Read an adapter in PEFT's layout, and the rank blocks of the released one.

A folder holds `adapter_config.json`, `adapter_model.safetensors`, and perhaps
`mega_lora_blocks.json`: for a module, a list of `{start, end, rank, alpha}` along the rank axis,
where several adapters were put side by side, each with its own scale alpha / rank. Scales are
folded into B, so that a module's change is B A and nothing else.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from megaasr.adapter.names import native_name, split_key, trained_name
from megaasr.errors import CheckpointError
from megaasr.hashing import file_sha256

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
BLOCKS_FILE = "mega_lora_blocks.json"
PARENT = "base_fingerprint"
"""Key in the weights' metadata: the fingerprint of the base that the adapter was trained on."""


@dataclass(frozen=True, slots=True)
class LowRank:
    """The change of one linear layer: W becomes W + b a.

    Attributes:
        a: float32 [rank, inputs].
        b: float32 [outputs, rank], its scale folded in.
    """

    a: torch.Tensor
    b: torch.Tensor

    @property
    def rank(self) -> int:
        """Rows of a."""
        return int(self.a.shape[0])

    def beside(self, other: LowRank) -> LowRank:
        """Return both changes of a layer as one, side by side along the rank."""
        return LowRank(torch.cat([self.a, other.a]), torch.cat([self.b, other.b], dim=1))

    def delta(self) -> torch.Tensor:
        """Return b a: float32 [outputs, inputs]."""
        return self.b @ self.a


@dataclass(frozen=True)
class Adapter:
    """A low-rank adapter for the native model.

    Attributes:
        name: the folder it was read from.
        layers: by native module name.
        sha256: of the weights' file.
        base: what `adapter_config.json` says it was trained on.
        base_fingerprint: of the weights that it was trained on, see `megaasr.model.parts`; None
            if the file does not say.
    """

    name: str
    layers: Mapping[str, LowRank]
    sha256: str
    base: str | None = None
    base_fingerprint: str | None = None

    @property
    def parameters(self) -> int:
        """Numbers in all layers."""
        return sum(one.a.numel() + one.b.numel() for one in self.layers.values())


def is_adapter(folder: Path) -> bool:
    """Tell whether a folder holds an adapter."""
    return (folder / CONFIG_FILE).is_file()


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter.

    Raises:
        CheckpointError: files are missing or damaged, weights are a pickle, or the adapter is of
            a kind (DoRA, biases, whole modules) that has no side branch.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file

    config = _json(folder / CONFIG_FILE)
    _refuse_other_kinds(config, folder)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        why = "adapter_model.bin is refused: a pickle can run code" if pickled else "it is missing"
        raise CheckpointError(f"{folder} has no {WEIGHTS_FILE} ({why})")
    try:
        tensors = load_file(weights)
        with safe_open(weights, "pt") as file:
            metadata = file.metadata() or {}
    except Exception as error:  # safetensors raises its own kinds
        raise CheckpointError(f"{weights} cannot be read: {error}") from error
    blocks = folder / BLOCKS_FILE
    layers = _layers(tensors, config, _json(blocks) if blocks.is_file() else {}, folder)
    digest = file_sha256(weights)
    base = config.get("base_model_name_or_path")
    return Adapter(folder.name, layers, digest, base, metadata.get(PARENT))


def _layers(
    tensors: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    blocks: Mapping[str, Any],
    folder: Path,
) -> dict[str, LowRank]:
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        found = split_key(key)
        if found is None:
            raise CheckpointError(f"{folder}: {key} is no part of a low-rank adapter")
        module, part = trained_name(found[0]), found[1]
        if part in parts.setdefault(module, {}):
            raise CheckpointError(f"{folder}: two tensors for {module}, lora_{part}")
        parts[module][part] = tensor.float()
    listed = {trained_name(module): found for module, found in blocks.items()}
    unknown = sorted(set(listed) - set(parts))
    if unknown:
        raise CheckpointError(
            f"{folder}/{BLOCKS_FILE} speaks of {unknown[0]}, which has no weights"
        )
    layers: dict[str, LowRank] = {}
    for module, pair in parts.items():
        found_layer = _low_rank(module, pair, config, listed.get(module), folder)
        native = native_name(module)
        # One file may name a layer in two ways, each with weights of its own (the released one
        # seems to: 539 modules are listed, 196 more than there are); both changes are added.
        layers[native] = layers[native].beside(found_layer) if native in layers else found_layer
    return layers


def _low_rank(
    module: str,
    pair: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
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
    """Return the value of the first pattern that fits a name, as PEFT finds it.

    Names and patterns may be spelled differently; the spelling of training is tried first.
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
    """Return float32 [rank]: the scale of every column of B."""
    scales = torch.zeros(rank)
    at = 0
    for block in sorted(blocks, key=lambda one: int(one["start"])):
        start, end = int(block["start"]), int(block["end"])
        if start != at or end <= start or end > rank:
            raise CheckpointError(
                f"{folder}/{BLOCKS_FILE}: {module}: the blocks do not cover rank 0 to {rank}"
            )
        scales[start:end] = float(block["alpha"]) / float(block["rank"])
        at = end
    if at != rank:
        raise CheckpointError(
            f"{folder}/{BLOCKS_FILE}: {module}: the blocks end at {at}, the rank is {rank}"
        )
    return scales


def _refuse_other_kinds(config: Mapping[str, Any], folder: Path) -> None:
    for field, plain in (
        ("use_dora", False),
        ("lora_bias", False),
        ("modules_to_save", None),
        ("trainable_token_indices", None),
    ):
        if config.get(field) not in (plain, None, [], {}):
            raise CheckpointError(
                f"{folder}/{CONFIG_FILE}: {field} is {config[field]!r}; only plain low-rank "
                "adapters of linear layers can be used"
            )
    if config.get("bias", "none") != "none":
        raise CheckpointError(f"{folder}/{CONFIG_FILE}: trained biases cannot be used")
    for field in ("r", "lora_alpha"):
        if not isinstance(config.get(field), int | float):
            raise CheckpointError(f"{folder}/{CONFIG_FILE}: {field} is missing")


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} is not a JSON object")
    return found
