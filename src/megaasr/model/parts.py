"""The parts of a model: base, adapter and router.

The released model (`zhifeixie/Mega-ASR`) has them in three subfolders: `Qwen3-ASR-1.7B`,
`mega-asr-merged` and `audio_quality_router`. This package reads and writes the same layout; the
base may be in a subfolder of any name or in the folder itself, and a base alone is a model too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from megaasr.adapter.names import native_name
from megaasr.adapter.peft_layout import Adapter, adapter_sha256, is_adapter
from megaasr.errors import CheckpointError, UsageError
from megaasr.hashing import file_sha256
from megaasr.model.chunk_length import CHUNKING_FILE
from megaasr.model.layout import stored_quantization

ADAPTER, ROUTER = "mega-asr-merged", "audio_quality_router"
_MAX_LISTED = 8
_SAMPLE_BYTES = 1024


@dataclass(frozen=True, slots=True)
class ModelParts:
    """Paths of the parts of a model.

    Attributes:
        base: folder of the base, a checkpoint in either layout.
        adapter: folder of the adapter in PEFT's layout; None for a model without an adapter.
        router: safetensors file of the router; None for a model without a router.
    """

    base: Path
    adapter: Path | None = None
    router: Path | None = None


def find_parts(folder: Path) -> ModelParts:
    """Find the parts of a model in its folder.

    Raises:
        CheckpointError: there is no base or more than one, or the router is a pickle.
    """
    adapter = folder / ADAPTER
    return ModelParts(
        _base(folder), adapter if is_adapter(adapter) else None, _router(folder / ROUTER)
    )


def fingerprint(base: Path) -> str:
    """Return a fingerprint of a checkpoint's weights, independent of the checkpoint's layout.

    It is the SHA-256 of the native names, types and shapes of all tensors and of the first and last
    kilobyte of each, so that 4 GB need not be read.

    Raises:
        CheckpointError: a weights file is damaged.
    """
    lines = sorted(line for path in base.glob("*.safetensors") for line in _describe_tensors(path))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def part_hashes(parts: ModelParts) -> dict[str, str]:
    """Return hashes that identify a model: `base_fingerprint`, `adapter_sha256` and `router_sha256`
    if it has these parts, and `chunking_sha256` if it states the length of its chunks."""
    hashes = {"base_fingerprint": fingerprint(parts.base)}
    if (parts.base / CHUNKING_FILE).is_file():
        hashes["chunking_sha256"] = file_sha256(parts.base / CHUNKING_FILE)
    if parts.adapter is not None:
        hashes["adapter_sha256"] = adapter_sha256(parts.adapter)
    if parts.router is not None:
        hashes["router_sha256"] = file_sha256(parts.router)
    return hashes


def require_outside(output: Path, parts: ModelParts) -> None:
    """Raise if a folder for another model lies within that of a model.

    The parts of the two could not be told apart any more.

    Args:
        output: the new folder.
        parts: parts of the model that is there.

    Raises:
        UsageError: the folder lies within it.
    """
    folders = [parts.base]
    if parts.adapter is not None:
        folders.append(parts.adapter.parent)
    if parts.router is not None:
        folders.append(parts.router.parent.parent)
    for folder in map(Path.resolve, folders):
        if folder in output.resolve().parents:
            raise UsageError(
                f"{output} is within the model {folder}; choose a folder outside of it"
            )


def parent_fingerprint(base: Path) -> str:
    """Return the fingerprint that adapters of a checkpoint state.

    It is that of the weights themselves, or of those that 8-bit weights were made from: an adapter
    runs beside the quantised layers, so it fits both.

    Raises:
        CheckpointError: the checkpoint is damaged.
    """
    quantization = stored_quantization(base) or {}
    return str(quantization.get("base_fingerprint") or fingerprint(base))


def require_parent(adapter: Adapter, base: Path) -> None:
    """Raise if an adapter was trained on another base.

    Raises:
        CheckpointError: the adapter states the fingerprint of other weights.
    """
    parent = adapter.base_fingerprint
    if parent is not None and parent != parent_fingerprint(base):
        raise CheckpointError(
            f"the adapter {adapter.name} was trained on other weights than {base} (on "
            f"{adapter.base or 'an unnamed model'}); so it cannot be used with this base"
        )


def _describe_tensors(path: Path) -> Iterator[str]:
    """Yield a line for each tensor of a safetensors file: name, type, shape and hash.

    The file consists of the length of its header (8 bytes), the header in JSON, and the data.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = _read_header(file, length, path.stat().st_size)
        except ValueError as error:
            raise CheckpointError(f"{path} is damaged: {error}; fetch it again") from error
        for key, entry in header.items():
            start, end = entry["data_offsets"]
            digest = hashlib.sha256()
            for offset in (start, max(start, end - _SAMPLE_BYTES)):
                file.seek(8 + length + offset)
                digest.update(file.read(min(_SAMPLE_BYTES, end - start)))
            module, _, parameter = key.rpartition(".")
            if native_name(module) == "lm_head":  # tied, and not in every checkpoint
                continue
            shape = f"{entry['dtype']} {entry['shape']}"
            yield f"{native_name(module)}.{parameter} {shape} {digest.hexdigest()}"


def _read_header(file: BinaryIO, length: int, size: int) -> dict[str, dict[str, Any]]:
    """Return the header's entries of tensors.

    Raises:
        ValueError: it is damaged, or the data are not complete.
    """
    if length > size:
        raise ValueError("its header is longer than the file")
    header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    header.pop("__metadata__", None)
    try:
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (LookupError, TypeError) as error:
        raise ValueError("its header describes no tensors") from error
    if 8 + length + end > size:
        raise ValueError(f"it should have {8 + length + end} bytes and has {size}")
    return header


def _base(folder: Path) -> Path:
    if (folder / "config.json").is_file():
        return folder
    bases = sorted(path.parent for path in folder.glob("*/config.json"))
    if len(bases) == 1:
        return bases[0]
    if bases:
        listed = ", ".join(base.name for base in bases[:_MAX_LISTED])
        raise CheckpointError(f"{folder} holds several models ({listed}); name one of them")
    raise CheckpointError(f"{folder} holds no config.json: it is not a model folder")


def _router(folder: Path) -> Path | None:
    routers = sorted(folder.glob("*.safetensors"))
    if routers:
        return routers[0]
    pickles = [path.name for path in folder.glob("*") if path.suffix in {".pt", ".pth", ".bin"}]
    if pickles:
        raise CheckpointError(
            f"{folder}/{pickles[0]} is refused: a pickle can run code; save the router as "
            "safetensors"
        )
    return None
