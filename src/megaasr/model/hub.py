"""Where a model's files are: shipped in the package, in a local folder, or on the hub."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from megaasr.errors import HubUnreachableError, ModelNotFoundError

SHIPPED = ("tiny",)
# Weights are safetensors only: a pickle can run code while it is being read.
_WANTED = ["*.json", "*.safetensors", "*.txt", "*.jinja"]


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
    return _download(name, offline)


def _download(name: str, offline: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(snapshot_download(name, allow_patterns=_WANTED, local_files_only=offline))
    except GatedRepoError as error:
        raise ModelNotFoundError(
            f"{name} is gated: accept its terms on the hub, then log in with `hf auth login`"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelNotFoundError(f"the hub has no model {name} that you may read") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        what = (
            "is not in the local cache, and --offline forbids to fetch it"
            if offline
            else f"could not be fetched from the hub ({_first_line(error)})"
        )
        raise HubUnreachableError(
            f"{name} {what}; without a network use --model tiny (a small "
            "demonstration model) or a folder that holds the model's files"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(". ")
