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

from megaasr.adapter.names import native_name
from megaasr.adapter.peft_layout import WEIGHTS_FILE, Adapter, is_adapter
from megaasr.errors import CheckpointError
from megaasr.hashing import file_sha256
from megaasr.model.chunk_length import CHUNKING_FILE
from megaasr.model.layout import read_config

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
        hashes["adapter_sha256"] = file_sha256(parts.adapter / WEIGHTS_FILE)
    if parts.router is not None:
        hashes["router_sha256"] = file_sha256(parts.router)
    return hashes


def require_parent(adapter: Adapter, base: Path) -> None:
    """Raise if an adapter was trained on another base.

    Raises:
        CheckpointError: the adapter states the fingerprint of other weights.
    """
    parent = adapter.base_fingerprint
    if parent is not None and parent != (_quantised_from(base) or fingerprint(base)):
        raise CheckpointError(
            f"the adapter {adapter.name} was trained on other weights than {base} (on "
            f"{adapter.base or 'an unnamed model'}); so it cannot be used with this base"
        )


def _quantised_from(base: Path) -> str | None:
    """Return the fingerprint of the weights that an 8-bit checkpoint was made from, if it is one.

    An adapter runs beside the quantised layers, so it fits both.
    """
    recorded = read_config(base).get("quantization_config", {}).get("base_fingerprint")
    return None if recorded is None else str(recorded)


def _describe_tensors(path: Path) -> Iterator[str]:
    """Yield a line for each tensor of a safetensors file: name, type, shape and hash.

    The file consists of the length of its header (8 bytes), the header in JSON, and the data.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            if length > path.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = json.loads(file.read(length))
        except ValueError as error:
            raise CheckpointError(f"{path} is damaged: {error}; fetch it again") from error
        for key, entry in header.items():
            if key == "__metadata__":
                continue
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
