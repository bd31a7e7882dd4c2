"""Transcribed speech: LibriSpeech, Common Voice, AISHELL-1, WenetSpeech."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from megaasr.corpora.sound import Sound, chosen, require
from megaasr.errors import RecordError, UsageError


def librispeech(root: Path, split: str | None) -> Iterator[Sound]:
    """Read `SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt` beside FLAC files.

    Texts are published in capitals; they come in lower case, which is nearer to what a recogniser
    should write.
    """
    root = root / "LibriSpeech" if (root / "LibriSpeech").is_dir() else root
    splits = sorted(
        one.name for one in root.iterdir() if one.is_dir() and any(one.glob("*/*/*.trans.txt"))
    )
    if not splits:
        raise UsageError(f"{root} does not look like LibriSpeech: it has no */*/*/*.trans.txt")
    for name in chosen(split, splits, root):
        for listing in sorted((root / name).glob("*/*/*.trans.txt")):
            for line in _lines(listing):
                key, _, text = line.partition(" ")
                yield Sound(
                    key,
                    listing.parent / f"{key}.flac",
                    text.strip().lower(),
                    "en",
                    extra={"speaker": key.partition("-")[0], "split": name},
                )


def common_voice(root: Path, split: str | None) -> Iterator[Sound]:
    """Read `train.tsv`, `dev.tsv`, `test.tsv` (or another table) beside `clips`.

    `root` is the folder of one language (`cv-corpus-…/en`).
    """
    require(root, "clips", corpus="one language of Common Voice")
    standard = [name for name in ("train", "dev", "test") if (root / f"{name}.tsv").is_file()]
    others = sorted(one.stem for one in root.glob("*.tsv"))
    if split is None and not standard:
        raise UsageError(
            f"{root} has none of train.tsv, dev.tsv and test.tsv; choose with --split: "
            f"{', '.join(others) or 'but there are no tables at all'}"
        )
    wanted = chosen(split, others, root) if split is not None else standard
    for name in wanted:
        for row in _table(root / f"{name}.tsv", "\t"):
            text, audio = row.get("sentence"), row.get("path")
            if not text or not audio:
                continue
            language = row.get("locale") or root.name
            yield Sound(
                Path(audio).stem,
                root / "clips" / audio,
                text.strip(),
                language.partition("-")[0],
                extra={"speaker": row.get("client_id", "")[:16], "split": name},
            )


def aishell(root: Path, split: str | None) -> Iterator[Sound]:
    """Read `transcript/aishell_transcript_v0.8.txt` beside `wav/SPLIT/SPEAKER`.

    Words are published apart; they come without spaces.
    """
    root = root / "data_aishell" if (root / "data_aishell").is_dir() else root
    listing = require(root, "transcript/aishell_transcript_v0.8.txt", corpus="AISHELL-1")
    texts = {}
    for line in _lines(listing):
        key, *words = line.split()
        texts[key] = "".join(words)
    wav = require(root, "wav", corpus="AISHELL-1")
    splits = sorted(one.name for one in wav.iterdir() if one.is_dir())
    if not splits and (packed := sorted(wav.glob("*.tar.gz"))):
        raise UsageError(f"{wav} holds archives ({packed[0].name}, …): unpack them there first")
    for name in chosen(split, splits, root):
        for path in sorted((root / "wav" / name).glob("*/*.wav")):
            if path.stem in texts:  # a few recordings were never transcribed
                speaker = path.parent.name
                extra = {"speaker": speaker, "split": name}
                yield Sound(path.stem, path, texts[path.stem], "zh", extra=extra)


def wenetspeech(root: Path, split: str | None) -> Iterator[Sound]:
    """Read `WenetSpeech.json`: parts of long recordings; a split is a subset (L, S, DEV …)."""
    listing = require(root, "WenetSpeech.json", corpus="WenetSpeech")
    known: set[str] = set()
    for recording in _recordings(listing):
        for segment in recording["segments"]:
            subsets = [str(one) for one in segment.get("subsets", ())]
            known.update(subsets)
            if split is not None and split not in subsets:
                continue
            yield Sound(
                str(segment["sid"]),
                root / recording["path"],
                str(segment["text"]).strip(),
                "zh",
                float(segment["begin_time"]),
                float(segment["end_time"]),
                {"recording": str(recording["aid"]), "split": "+".join(subsets)},
            )
    if split is not None:
        chosen(split, sorted(known), root)


def _recordings(listing: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(listing.read_text(encoding="utf-8"))["audios"]
        for recording in found:
            for segment in recording["segments"]:
                _ = segment["sid"], segment["begin_time"], segment["end_time"], segment["text"]
            _ = recording["path"], recording["aid"]
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"{listing} is not WenetSpeech's listing: {error!r}") from error
    return list(found)


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        try:
            yield from (line.rstrip("\n") for line in lines if line.strip())
        except UnicodeDecodeError as error:
            raise RecordError(f"{path} is not UTF-8: {error}") from error


def _table(path: Path, delimiter: str) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as text:
            # Sentences hold quotes that quote nothing.
            yield from csv.DictReader(text, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    except (csv.Error, UnicodeDecodeError) as error:
        raise RecordError(f"{path} cannot be read as a table: {error}") from error
