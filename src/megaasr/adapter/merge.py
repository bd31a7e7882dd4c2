"""Merges an adapter into its base: one plain checkpoint in the layout of the base.

For engines that do not support side branches. Routing is lost: the result is the robust branch
alone. Each weight is changed in float32 and rounded once to the type it had, or is wanted in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from megaasr.adapter.names import native_name
from megaasr.adapter.peft_layout import Adapter
from megaasr.atomic import atomic_path
from megaasr.derived_folder import MERGE_MARKER, DerivedFolder
from megaasr.errors import CheckpointError, UsageError
from megaasr.hashing import file_sha256
from megaasr.progress import OnProgress

_WEIGHTS = "*.safetensors"
_BASE_ONLY_FILES = ("README.md", "parts.json", "results.json", "confidence.json")
"""Files that describe the base and its measured results, which do not hold for the merged model."""


@dataclass(frozen=True, slots=True)
class Parents:
    """The inputs of a merged checkpoint.

    Attributes:
        base: SHA-256 of each weight file of the base.
        adapter: SHA-256 of the adapter.
        dtype: data type that the weights are converted to; None for their own.
    """

    base: dict[str, str]
    adapter: str
    dtype: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the marker file."""
        return {
            "merge_schema": 2,
            "base": self.base,
            "adapter": self.adapter,
            "dtype": self.dtype,
        }


def merge(
    base: Path,
    adapter: Adapter,
    output: Path,
    *,
    dtype: torch.dtype | None = None,
    on_file: OnProgress = lambda done, total: None,
) -> bool:
    """Write the merged checkpoint.

    Args:
        base: folder of a checkpoint in either layout.
        adapter: adapter of that base.
        output: a new folder, or the folder of an earlier merge of the same parents, which may be
            incomplete.
        dtype: data type that the base's weights are converted to before they are changed, as a
            model that is loaded in it; None for the type that each weight has.
        on_file: called with the number of written weight files and their total number.

    Returns:
        Whether anything was written; False if the folder already held this merge.

    Raises:
        UsageError: the folder holds other files, was merged from other parents, or another process
            is at work in it; or the base has 8-bit weights.
        CheckpointError: the base has no weight for a layer of the adapter, or one of another shape.
    """
    files = sorted(base.glob(_WEIGHTS))
    if not files:
        raise CheckpointError(f"{base} holds no .safetensors weights")
    hashes = {file.name: file_sha256(file) for file in files}
    parents = Parents(hashes, adapter.sha256, None if dtype is None else str(dtype))
    _require_weights(files, adapter, base)
    copy = DerivedFolder(
        base,
        "base",
        output,
        MERGE_MARKER,
        parents.to_dict(),
        "was merged from another base or adapter",
        _BASE_ONLY_FILES,
    )
    with copy.opened() as is_complete:
        if is_complete:
            return False
        copy.begin()
        for number, file in enumerate(files, 1):
            _merge_file(file, adapter, output / file.name, dtype)
            on_file(number, len(files))
        copy.finish()
    return True


def merge_into(model: torch.nn.Module, adapter: Adapter) -> None:
    """Add an adapter's changes to the weights of a model in memory, in float32, rounded once.

    Args:
        model: native model; its weights are changed.
        adapter: adapter of that model.

    Raises:
        CheckpointError: the model has no such layer, or one of another size.
    """
    modules = dict(model.named_modules())
    with torch.no_grad():
        for name, layer in adapter.layers.items():
            weight: Any = getattr(modules.get(name), "weight", None)
            if weight is None or weight.shape != (layer.b.shape[0], layer.a.shape[1]):
                raise CheckpointError(f"the adapter {adapter.name} does not fit: {name}")
            delta = layer.delta().to(weight.device)
            weight.copy_((weight.float() + delta).to(weight.dtype))


def _require_weights(files: Sequence[Path], adapter: Adapter, base: Path) -> None:
    """Raise unless the base has a weight, of a type that can be changed, for every layer."""
    from safetensors import safe_open

    unmatched = set(adapter.layers)
    for file in files:
        with safe_open(file, "pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 (the file is not a mapping)
                name = native_name(key.removesuffix(".weight"))
                if name in unmatched and key.endswith(".weight"):
                    if tensors.get_slice(key).get_dtype() == "I8":
                        raise UsageError(
                            f"{base} has 8-bit weights, which cannot be changed; merge the adapter "
                            "into the model that it was made from"
                        )
                    unmatched.remove(name)
    if unmatched:
        raise CheckpointError(
            f"the adapter {adapter.name} does not fit {base}: no weight for {min(unmatched)}"
            + (f" and {len(unmatched) - 1} more" if len(unmatched) > 1 else "")
        )


def _merge_file(file: Path, adapter: Adapter, target: Path, dtype: torch.dtype | None) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    merged: dict[str, torch.Tensor] = {}
    with safe_open(file, "pt") as tensors:
        metadata = tensors.metadata()
        for key in tensors.keys():  # noqa: SIM118 (the file is not a mapping)
            weight = tensors.get_tensor(key)
            if dtype is not None and weight.is_floating_point():
                weight = weight.to(dtype)
            change = adapter.layers.get(native_name(key.removesuffix(".weight")))
            if change is not None and key.endswith(".weight"):
                delta = change.delta()
                if delta.shape != weight.shape:
                    raise CheckpointError(
                        f"{key} is {tuple(weight.shape)}, the adapter's change {tuple(delta.shape)}"
                    )
                weight = (weight.float() + delta).to(weight.dtype)
            merged[key] = weight.contiguous()
    with atomic_path(target) as part:
        save_file(merged, part, metadata)
