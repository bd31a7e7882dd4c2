"""Test sets on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from megaasr.errors import HubUnreachableError, UsageError

_WANTED = ["*.jsonl", "*.csv", "*.tsv", "*.json", "*.parquet", "*.wav", "*.flac", "*.mp3", "*.ogg"]


def find_test_set(name: str, *, offline: bool = False) -> Path:
    """Return a local path, or the folder that a data set of the hub was downloaded to.

    Args:
        name: a file or folder, or `owner/name` on the hub.
        offline: use the hub's local cache only.

    Raises:
        UsageError: nothing has this name.
        HubUnreachableError: the hub did not answer and the data set is not in the cache.
    """
    path = Path(name)
    if path.exists():
        return path
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1 or path.suffix:
        raise UsageError(f"there is no test set {name}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        found = snapshot_download(
            name, repo_type="dataset", allow_patterns=_WANTED, local_files_only=offline
        )
        return Path(found)
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UsageError(f"the hub has no data set {name} that you may read") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise HubUnreachableError(
            f"{name} is neither a file here nor could it be fetched from the hub ({reason})"
        ) from error
