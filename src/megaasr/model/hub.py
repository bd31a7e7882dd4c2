"""Where a model's files are: shipped in the package, in a local folder, or on the hub."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from megaasr.errors import ModelNotFoundError
from megaasr.hub import download_repository

SHIPPED = ("tiny",)
# Weights are safetensors only: a pickle can run code while it is being read.
_MODEL_FILES = ["*.json", "*.safetensors", "*.txt", "*.jinja"]


def find_model(name: str, *, offline: bool = False) -> Path:
    """Return the folder that holds a model's files, downloading them if they are on the hub.

    Args:
        name: `tiny`, a local folder, or a hub id such as `Qwen/Qwen3-ASR-0.6B-hf`.
        offline: use the hub's local cache only.

    Raises:
        ModelNotFoundError: nothing has this name.
        HubUnreachableError: the hub did not answer and the model is not in the cache.
    """
    if name in SHIPPED:
        return Path(str(resources.files("megaasr.model") / "shipped" / name))
    # os.path, because Path raises for a name too long, a folder closed to us, an unknown ~user.
    folder = Path(os.path.expanduser(name))  # noqa: PTH111
    if os.path.isdir(folder):  # noqa: PTH112
        return folder
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise ModelNotFoundError(
            f"no model {name}: it is neither a folder nor a hub id (owner/name); the shipped "
            f"model is --model {SHIPPED[0]}"
        )
    return download_repository(
        name,
        kind="model",
        patterns=_MODEL_FILES,
        not_found=ModelNotFoundError,
        without_network="without a network use --model tiny (a small demonstration model) or a "
        "folder that holds the model's files",
        offline=offline,
    )
