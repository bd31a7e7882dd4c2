"""Noise: MUSAN, the DNS challenge's, ESC-50, UrbanSound8K. Its category is a column."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from megaasr.audio.suffixes import AUDIO_SUFFIXES
from megaasr.corpora.sound import Sound, chosen, require
from megaasr.errors import RecordError


def musan(root: Path, split: str | None) -> Iterator[Sound]:
    """Read `music`, `noise` and `speech`; without a split, the speech is left out (no noise)."""
    root = root / "musan" if (root / "musan").is_dir() else root
    require(root, "noise", "music", corpus="MUSAN")
    parts = [name for name in ("music", "noise", "speech") if (root / name).is_dir()]
    wanted = chosen(split, parts, root) if split else [one for one in parts if one != "speech"]
    for part in wanted:
        for path in _below(root / part):
            category = "/".join((part, *path.relative_to(root / part).parts[:-1]))
            yield Sound(path.stem, path, extra={"category": category, "split": part})


def dns(root: Path, split: str | None) -> Iterator[Sound]:
    """Read `noise` or `noise_fullband`; the split `impulse_responses` is measured rooms."""
    noise = require(root, "noise_fullband", "noise", corpus="the DNS challenge's data")
    folders = {noise.name: noise}
    if (root / "impulse_responses").is_dir():
        folders["impulse_responses"] = root / "impulse_responses"
    wanted = chosen(split, list(folders), root) if split else [noise.name]
    for name in wanted:
        for path in _below(folders[name]):
            below = path.relative_to(folders[name])
            category = "/".join((name, *below.parts[:-1]))
            extra = {"category": category, "split": name}
            yield Sound(below.with_suffix("").as_posix(), path, extra=extra)


def esc50(root: Path, split: str | None) -> Iterator[Sound]:
    """Read `meta/esc50.csv` beside `audio`; splits are the folds 1 to 5."""
    rows = _rows(require(root, "meta/esc50.csv", corpus="ESC-50"))
    folds = sorted({row["fold"] for row in rows})
    wanted = chosen(split, folds, root)
    for row in rows:
        if row["fold"] in wanted:
            name = row["filename"]
            extra = {"category": row["category"], "split": row["fold"]}
            yield Sound(Path(name).stem, root / "audio" / name, extra=extra)


def urbansound(root: Path, split: str | None) -> Iterator[Sound]:
    """Read `metadata/UrbanSound8K.csv` beside `audio/foldN`; splits are the folds 1 to 10."""
    rows = _rows(require(root, "metadata/UrbanSound8K.csv", corpus="UrbanSound8K"))
    folds = sorted({row["fold"] for row in rows}, key=int)
    wanted = chosen(split, folds, root)
    for row in rows:
        if row["fold"] in wanted:
            name = row["slice_file_name"]
            path = root / "audio" / f"fold{row['fold']}" / name
            extra = {"category": row["class"], "split": row["fold"]}
            yield Sound(Path(name).stem, path, extra=extra)


def _below(folder: Path) -> list[Path]:
    """Return the recordings of a folder and those below it, in order."""
    return sorted(one for one in folder.rglob("*") if one.suffix.lower() in AUDIO_SUFFIXES)


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(encoding="utf-8", newline="") as text:
            rows = list(csv.DictReader(text))
    except (csv.Error, UnicodeDecodeError) as error:
        raise RecordError(f"{table} cannot be read as a table: {error}") from error
    needed = {"fold", "filename", "category"} if table.stem == "esc50" else {"fold", "class"}
    if not rows or not needed <= rows[0].keys():
        raise RecordError(f"{table} has not the columns {', '.join(sorted(needed))}")
    return rows
