"""Readers of noise corpora: MUSAN, the DNS challenge's, ESC-50, UrbanSound8K.

The category of a noise is a column of the manifest.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from megaasr.audio.suffixes import AUDIO_SUFFIXES
from megaasr.corpora.entries import CorpusEntry, require_path, select_splits
from megaasr.errors import RecordError


def musan(root: Path, split: str | None) -> Iterator[CorpusEntry]:
    """Read MUSAN: `music`, `noise` and `speech`; without a split, `speech` is left out."""
    root = root / "musan" if (root / "musan").is_dir() else root
    require_path(root, "noise", "music", corpus="MUSAN")
    parts = [name for name in ("music", "noise", "speech") if (root / name).is_dir()]
    noises = [part for part in parts if part != "speech"]
    for part in select_splits(split, parts, root) if split else noises:
        for path in _recordings_below(root / part):
            category = "/".join((part, *path.relative_to(root / part).parts[:-1]))
            yield CorpusEntry(path.stem, path, extra={"category": category, "split": part})


def dns(root: Path, split: str | None) -> Iterator[CorpusEntry]:
    """Read the noises of the DNS challenge, or its room responses as split `impulse_responses`."""
    noise = require_path(root, "noise_fullband", "noise", corpus="the DNS challenge's data")
    folders = {noise.name: noise}
    if (root / "impulse_responses").is_dir():
        folders["impulse_responses"] = root / "impulse_responses"
    for name in select_splits(split, list(folders), root) if split else [noise.name]:
        for path in _recordings_below(folders[name]):
            below = path.relative_to(folders[name])
            category = "/".join((name, *below.parts[:-1]))
            extra = {"category": category, "split": name}
            yield CorpusEntry(below.with_suffix("").as_posix(), path, extra=extra)


def esc50(root: Path, split: str | None) -> Iterator[CorpusEntry]:
    """Read ESC-50 from `meta/esc50.csv` and `audio`; the splits are the folds 1 to 5."""
    rows = _rows(require_path(root, "meta/esc50.csv", corpus="ESC-50"))
    folds = sorted({row["fold"] for row in rows})
    selected = select_splits(split, folds, root)
    for row in rows:
        if row["fold"] in selected:
            name = row["filename"]
            extra = {"category": row["category"], "split": row["fold"]}
            yield CorpusEntry(Path(name).stem, root / "audio" / name, extra=extra)


def urbansound(root: Path, split: str | None) -> Iterator[CorpusEntry]:
    """Read UrbanSound8K from `metadata` and `audio/foldN`; the splits are the folds 1 to 10."""
    rows = _rows(require_path(root, "metadata/UrbanSound8K.csv", corpus="UrbanSound8K"))
    folds = sorted({row["fold"] for row in rows}, key=int)
    selected = select_splits(split, folds, root)
    for row in rows:
        if row["fold"] in selected:
            name = row["slice_file_name"]
            path = root / "audio" / f"fold{row['fold']}" / name
            extra = {"category": row["class"], "split": row["fold"]}
            yield CorpusEntry(Path(name).stem, path, extra=extra)


def _recordings_below(folder: Path) -> list[Path]:
    """Return the recordings in a folder and its subfolders, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(encoding="utf-8", newline="") as text:
            rows = list(csv.DictReader(text))
    except (csv.Error, UnicodeDecodeError) as error:
        raise RecordError(f"{table} cannot be read as a table: {error}") from error
    columns = {"fold", "filename", "category"} if table.stem == "esc50" else {"fold", "class"}
    if not rows or not columns <= rows[0].keys():
        raise RecordError(f"{table} does not have the columns {', '.join(sorted(columns))}")
    return rows
