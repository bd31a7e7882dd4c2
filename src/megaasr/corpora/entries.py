"""The entries of a corpus, which its reader yields, and helpers of the readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from megaasr.errors import UsageError


@dataclass(frozen=True, slots=True)
class CorpusEntry:
    """A recording, or a segment of one, that a corpus lists.

    Attributes:
        id: id of the entry, unique in its corpus.
        path: path of the audio file, which may be missing.
        text: transcript; empty for noise.
        language: name of the language in the corpus; None for noise. Manifests have its code.
        start_s, end_s: bounds of the segment in seconds; None for the complete file.
        extra: further columns of the manifest (`speaker`, `split`, `category`).
        problem: why the entry cannot be used; None if the listing has all that is needed.
    """

    id: str
    path: Path
    text: str = ""
    language: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """The published layout of a corpus.

    Attributes:
        name: name of the corpus that users type.
        kind: `speech` for transcribed speech, or `noise`.
        splits: names of its splits, for messages.
        read: yields the entries in a fixed order; its arguments are the folder and a split, or None
            for all splits. Raises UsageError if the folder is not this corpus.
    """

    name: str
    kind: Literal["speech", "noise"]
    splits: str
    read: Callable[[Path, str | None], Iterator[CorpusEntry]]


def require_path(root: Path, *alternatives: str, corpus: str) -> Path:
    """Return the first of several alternative paths inside a folder that exists.

    Args:
        root: folder of the corpus.
        alternatives: relative paths, one of which every copy of the corpus has.
        corpus: name of the corpus, for the error message.

    Raises:
        UsageError: none of the paths exists, so the folder is not this corpus.
    """
    for name in alternatives:
        if (root / name).exists():
            return root / name
    raise UsageError(
        f"{root} does not look like {corpus}: it has no {' and no '.join(alternatives)}; name the "
        "folder that holds it"
    )


def select_splits(split: str | None, available: list[str], root: Path) -> list[str]:
    """Return the requested split as a list, or all available splits for None.

    Raises:
        UsageError: the requested split is not available in the folder `root`.
    """
    if split is None:
        return available
    if split not in available:
        splits = ", ".join(available) or "none at all"
        raise UsageError(f"{root} has no split {split}, but {splits}")
    return [split]
