"""The one door to the Hugging Face hub: downloads, and what its errors mean to our users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from megaasr.errors import HubUnreachableError, MegaASRError, first_line


@dataclass(frozen=True, slots=True)
class HubOptions:
    """How a repository on the Hugging Face hub is found.

    Attributes:
        offline: use the local cache only.
        revision: branch, tag or commit; None for the default branch.
        cache_dir: folder for downloads; None for the hub library's own.
        token: access token for gated or private repositories; None for the stored login.
    """

    offline: bool = False
    revision: str | None = None
    cache_dir: Path | None = None
    token: str | None = None


ONLINE = HubOptions()
"""The default: downloads are allowed, from the default branch, into the default cache."""


def download_repository(
    name: str,
    *,
    kind: Literal["model", "dataset"],
    patterns: Sequence[str],
    not_found: type[MegaASRError],
    without_network: str,
    hub: HubOptions = ONLINE,
) -> Path:
    """Return the local folder of a hub repository, downloading what the cache lacks.

    Args:
        name: `owner/name`.
        kind: type of the repository.
        patterns: glob patterns of the files to download.
        not_found: class of the error to raise if there is no such repository, or no access to it.
        without_network: advice that completes the message of `HubUnreachableError`.
        hub: revision, cache and access.

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
        RevisionNotFoundError,
    )

    try:
        folder = snapshot_download(
            name,
            repo_type=kind,
            revision=hub.revision,
            cache_dir=hub.cache_dir,
            token=hub.token,
            allow_patterns=list(patterns),
            local_files_only=hub.offline,
        )
    except GatedRepoError as error:
        raise not_found(
            f"{name} is gated: accept its terms on the hub, then log in with `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise not_found(
            f"{name} has no revision {hub.revision!r}; name a branch, tag or commit that it has"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        named = "data set" if kind == "dataset" else kind
        raise not_found(f"the hub has no {named} {name} that you may read") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        problem = (
            "is not in the local cache, and offline use was requested"
            if hub.offline
            else f"could not be fetched from the hub ({first_line(error).rstrip('. ')})"
        )
        raise HubUnreachableError(f"{name} {problem}; {without_network}") from error
    return Path(folder)
