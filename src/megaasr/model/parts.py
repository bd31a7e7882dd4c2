"""The parts of a model: base, adapter and router, in the released layout or alone.

Released (`zhifeixie/Mega-ASR`): `Qwen3-ASR-1.7B/`, `mega-asr-merged/`, `audio_quality_router/` in
one folder. Ours has the same, with the base in a folder of any name or at the top. A base alone is
a model too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from megaasr.adapter.peft_layout import is_adapter
from megaasr.errors import CheckpointError

ADAPTER, ROUTER = "mega-asr-merged", "audio_quality_router"
_MOST_SHOWN = 8


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
