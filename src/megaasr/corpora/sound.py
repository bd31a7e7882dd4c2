"""What a reader of a corpus yields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from megaasr.errors import UsageError


@dataclass(frozen=True, slots=True)
class Sound:
    """A recording, or a part of one, that a corpus lists.

    Attributes:
        id: unique in its corpus.
        path: of the file; it may be missing.
        text: what is said; empty for noise.
        language: ISO code; None for noise.
        start_s, end_s: the part of the file; None for the whole.
        extra: further columns of the manifest (`speaker`, `split`, `category`).
    """

    id: str
    path: Path
    text: str = ""
    language: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layout:
    """A corpus as it is published.

    Attributes:
        name: that users type.
        kind: `speech` with transcripts, or `noise`.
        splits: what it is published in, for help texts.
        read: yields its sounds in a fixed order, given the folder and a split (None for all).
            Raises UsageError if the folder is not this corpus.
    """

    name: str
    kind: Literal["speech", "noise"]
    splits: str
    read: Callable[[Path, str | None], Iterator[Sound]]


def require(root: Path, *needed: str, corpus: str) -> Path:
    """Return the first of some paths below a folder that exists.

    Raises:
        UsageError: there is none, so the folder is not this corpus.
    """
    for name in needed:
        if (root / name).exists():
            return root / name
    raise UsageError(
        f"{root} does not look like {corpus}: it has no {' and no '.join(needed)}; name the folder "
        "that holds it"
    )


def chosen(split: str | None, known: list[str], root: Path) -> list[str]:
    """Return the splits that are wanted.

    Raises:
        UsageError: there is no such split.
    """
    if split is None:
        return known
    if split not in known:
        raise UsageError(f"{root} has no split {split}, but {', '.join(known) or 'none at all'}")
    return [split]
