"""Find a test set: in a local file or folder, or on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from megaasr.errors import UsageError
from megaasr.hub import HubOptions, download_repository

_TEST_SET_FILES = [
    *("*.jsonl", "*.csv", "*.tsv", "*.json", "*.parquet"),
    *("*.wav", "*.flac", "*.mp3", "*.ogg"),
]


def find_test_set(name: str, *, offline: bool = False) -> Path:
    """Return the path of a test set, downloading it if it is on the hub.

    Args:
        name: a local file or folder, or the hub id (`owner/name`) of a data set.
        offline: use the hub's local cache only.

    Raises:
        UsageError: there is no such file, folder or data set.
        HubUnreachableError: the hub did not answer and the data set is not in the cache.
    """
    path = Path(name)
    if path.exists():
        return path
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1 or path.suffix:
        raise UsageError(f"there is no test set {name}")
    return download_repository(
        name,
        kind="dataset",
        patterns=_TEST_SET_FILES,
        not_found=UsageError,
        without_network="there is no file or folder of this name either",
        hub=HubOptions(offline),
    )
