"""Finds the files of a model: shipped with the package, in a local folder, or on the hub."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from megaasr.errors import ModelNotFoundError
from megaasr.hub import ONLINE, HubOptions, download_repository
from megaasr.model.prompt import language_name

if TYPE_CHECKING:
    from megaasr.model.parts import ModelParts

SHIPPED = ("small", "tiny")
"""Names of the models that are part of the package."""
DEFAULT_MODEL = SHIPPED[0]
"""The model that is used if none is named."""
SHIPPED_LANGUAGES = {"small": ("en",), "tiny": ("en",)}
"""ISO codes of the languages that shipped models were trained on."""
# Weights are safetensors only: a pickle can run code while it is being read.
_MODEL_FILES = ["*.json", "*.safetensors", "*.txt", "*.jinja"]


def language_note(name: str, language: str | None) -> str | None:
    """Return a sentence on a forced language that a shipped model does not know; else None.

    Args:
        name: name of the model.
        language: ISO code of the language that its text is forced to; None if it is not forced.
    """
    languages = SHIPPED_LANGUAGES.get(name)
    if languages is None or language is None or language in languages:
        return None
    names = ", ".join(map(language_name, languages))
    return f"{name} knows {names} only; as {language_name(language)} its text is meaningless"


def find_model(name: str, hub: HubOptions = ONLINE) -> Path:
    """Return the folder that holds a model's files, after downloading them if necessary.

    Args:
        name: a shipped model, a local folder, or a name on the hub such as
            `Qwen/Qwen3-ASR-0.6B-hf`.
        hub: how a model on the hub is found; ignored for local models.

    Raises:
        ModelNotFoundError: nothing has this name.
        HubUnreachableError: the hub does not answer and the model is not in the cache.
    """
    folder = find_local_model(name)
    if folder is not None:
        return folder
    expanded = Path(os.path.expanduser(name))  # noqa: PTH111 (Path raises for an unknown ~user)
    if expanded.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise ModelNotFoundError(
            f"no model {name}: it is neither a folder nor a hub id (owner/name); the shipped "
            f"models are called {' and '.join(SHIPPED)}"
        )
    return download_repository(
        name,
        kind="model",
        patterns=_MODEL_FILES,
        not_found=ModelNotFoundError,
        without_network=f"without a network use the shipped model {DEFAULT_MODEL} or a folder that "
        "holds the model's files",
        hub=hub,
    )


def find_local_model(name: str) -> Path | None:
    """Return the folder of a shipped or local model; None if it can only be on the hub."""
    if name in SHIPPED:
        return Path(str(resources.files("megaasr.model") / "shipped" / name))
    # os.path, because Path raises for too long names, unreadable folders and unknown users (~name).
    folder = os.path.expanduser(name)  # noqa: PTH111
    return Path(folder) if os.path.isdir(folder) else None  # noqa: PTH112


def find_model_parts(name: str | Path, hub: HubOptions = ONLINE) -> ModelParts:
    """Return the paths of a model's base, adapter and router, after downloading if necessary.

    Args:
        name: a shipped model, a local folder, or a name on the hub such as `zhifeixie/Mega-ASR`.
        hub: how a model on the hub is found; ignored for local models.

    Raises:
        ModelNotFoundError: nothing has this name.
        HubUnreachableError: the hub does not answer and the model is not in the cache.
        CheckpointError: the folder does not contain a model.
    """
    from megaasr.model.parts import find_parts  # imports torch

    return find_parts(find_model(str(name), hub))
