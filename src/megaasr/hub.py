"""The one door to the Hugging Face hub: downloads, and what its errors mean to our users."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from megaasr.errors import HubUnreachableError, MegaASRError


def download_repository(
    name: str,
    *,
    kind: Literal["model", "dataset"],
    patterns: Sequence[str],
    not_found: type[MegaASRError],
    without_network: str,
    offline: bool = False,
) -> Path:
    """Return the local folder of a hub repository, downloading what the cache lacks.

    Args:
        name: `owner/name`.
        kind: type of the repository.
        patterns: glob patterns of the files to download.
        not_found: class of the error to raise if there is no such repository, or no access to it.
        without_network: advice that completes the message of `HubUnreachableError`.
        offline: use the local cache only.

    Raises:
        MegaASRError: `not_found`: the repository does not exist, is private, or is gated.
        HubUnreachableError: the hub did not answer and the cache does not hold the repository.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        folder = snapshot_download(
            name, repo_type=kind, allow_patterns=list(patterns), local_files_only=offline
        )
    except GatedRepoError as error:
        raise not_found(
            f"{name} is gated: accept its terms on the hub, then log in with `hf auth login`"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        named = "data set" if kind == "dataset" else kind
        raise not_found(f"the hub has no {named} {name} that you may read") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        problem = (
            "is not in the local cache, and --offline forbids to fetch it"
            if offline
            else f"could not be fetched from the hub ({_first_line(error)})"
        )
        raise HubUnreachableError(f"{name} {problem}; {without_network}") from error
    return Path(folder)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(". ")
