"""The parts of a model: base, adapter and router, in the released layout or alone.

Released (`zhifeixie/Mega-ASR`): `Qwen3-ASR-1.7B/`, `mega-asr-merged/`, `audio_quality_router/` in
one folder. Ours has the same, with the base in a folder of any name or at the top. A base alone is
a model too.
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

ADAPTER, ROUTER = "mega-asr-merged", "audio_quality_router"
_MOST_SHOWN = 8
_SAMPLE = 1024  # bytes


@dataclass(frozen=True, slots=True)
class ModelParts:
    """Where the parts of a model are.

    Attributes:
        base: a checkpoint in either layout.
        adapter: a folder in PEFT's layout; None if there is none.
        router: its weights, a safetensors file; None if there is none.
    """

    base: Path
    adapter: Path | None = None
    router: Path | None = None


def find_parts(folder: Path) -> ModelParts:
    """Find the parts of a model in its folder.

    Raises:
        CheckpointError: no base is there or several are, or the router is a pickle.
    """
    adapter = folder / ADAPTER
    return ModelParts(
        _base(folder), adapter if is_adapter(adapter) else None, _router(folder / ROUTER)
    )


def fingerprint(base: Path) -> str:
    """Return what tells a checkpoint's weights from others', whatever its layout.

    It is a hash of every tensor's native name, type and shape and of its first and last kilobyte,
    so that 4 GB need not be read.

    Raises:
        CheckpointError: a file of weights is damaged.
    """
    found = sorted(line for path in base.glob("*.safetensors") for line in _tensors(path))
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


def part_hashes(parts: ModelParts) -> dict[str, str]:
    """Return what tells a model's parts from others': `base_fingerprint`, and, of those that it
    has, `adapter_sha256` and `router_sha256`."""
    found = {"base_fingerprint": fingerprint(parts.base)}
    if parts.adapter is not None:
        found["adapter_sha256"] = file_sha256(parts.adapter / WEIGHTS_FILE)
    if parts.router is not None:
        found["router_sha256"] = file_sha256(parts.router)
    return found


def require_parent(adapter: Adapter, base: Path) -> None:
    """Raise if an adapter says that it was trained on other weights.

    Raises:
        CheckpointError: it was.
    """
    parent = adapter.base_fingerprint
    if parent is not None and parent != fingerprint(base):
        raise CheckpointError(
            f"the adapter {adapter.name} was trained on other weights than {base} (on "
            f"{adapter.base or 'an unnamed model'}); its changes would be noise there"
        )


def _tensors(path: Path) -> Iterator[str]:
    """Yield a line for each tensor of a safetensors file (8 bytes of length, JSON, data)."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            if length > path.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = json.loads(file.read(length))
        except ValueError as error:
            raise CheckpointError(f"{path} is damaged: {error}; fetch it again") from error
        for key, about in header.items():
            if key == "__metadata__":
                continue
            start, end = about["data_offsets"]
            digest = hashlib.sha256()
            for at in (start, max(start, end - _SAMPLE)):
                file.seek(8 + length + at)
                digest.update(file.read(min(_SAMPLE, end - start)))
            name, _, kind = key.rpartition(".")
            if native_name(name) == "lm_head":  # tied, and not in every checkpoint
                continue
            shape = f"{about['dtype']} {about['shape']}"
            yield f"{native_name(name)}.{kind} {shape} {digest.hexdigest()}"


def _base(folder: Path) -> Path:
    if (folder / "config.json").is_file():
        return folder
    found = sorted(one.parent for one in folder.glob("*/config.json"))
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(one.name for one in found[:_MOST_SHOWN])
        raise CheckpointError(f"{folder} holds several models ({listed}); name one of them")
    raise CheckpointError(f"{folder} holds no config.json: it is not a model folder")


def _router(folder: Path) -> Path | None:
    found = sorted(folder.glob("*.safetensors"))
    if found:
        return found[0]
    pickles = [one.name for one in folder.glob("*") if one.suffix in {".pt", ".pth", ".bin"}]
    if pickles:
        raise CheckpointError(
            f"{folder}/{pickles[0]} is refused: a pickle can run code; save the router as "
            "safetensors"
        )
    return None
