"""Readers of transcribed speech: LibriSpeech, Common Voice, AISHELL-1, WenetSpeech."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from megaasr.corpora.entries import CorpusEntry, require_path, select_splits
from megaasr.errors import RecordError, UsageError
from megaasr.records.tables import read_rows


def librispeech(root: Path, split: str | None) -> Iterator[CorpusEntry]:
    """Read LibriSpeech: `SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt` beside FLAC files.

    The transcripts, published in capitals, are converted to lower case, which is closer to what a
    recogniser should write.
    """
    root = root / "LibriSpeech" if (root / "LibriSpeech").is_dir() else root
    splits = sorted(
        folder.name
        for folder in root.iterdir()
        if folder.is_dir() and any(folder.glob("*/*/*.trans.txt"))
    )
    if not splits:
        raise UsageError(f"{root} does not look like LibriSpeech: it has no */*/*/*.trans.txt")
    for name in select_splits(split, splits, root):
        for listing in sorted((root / name).glob("*/*/*.trans.txt")):
            for line in _lines(listing):
                key, _, text = line.partition(" ")
                yield CorpusEntry(
                    key,
                    listing.parent / f"{key}.flac",
                    text.strip().lower(),
                    "en",
                    extra={"speaker": key.partition("-")[0], "split": name},
                )


def common_voice(root: Path, split: str | None) -> Iterator[CorpusEntry]:
    """Read a language of Common Voice: `train.tsv`, `dev.tsv`, `test.tsv` beside `clips`.

    Args:
        root: folder of the language (`cv-corpus-…/en`).
        split: name of a table (`validated`); None for train, dev and test.
    """
    require_path(root, "clips", corpus="one language of Common Voice")
    standard = [name for name in ("train", "dev", "test") if (root / f"{name}.tsv").is_file()]
    tables = sorted(path.stem for path in root.glob("*.tsv"))
    if split is None and not standard:
        raise UsageError(
            f"{root} has none of train.tsv, dev.tsv and test.tsv; choose with --split: "
            f"{', '.join(tables) or 'but there are no tables at all'}"
        )
    for name in select_splits(split, tables, root) if split is not None else standard:
        # Quotation marks are part of the sentences.
        for number, row in read_rows(root / f"{name}.tsv"):
            text, audio = row.get("sentence", ""), row.get("path", "")
            line = f"{name}.tsv, line {number}"
            missing = [column for column in ("path", "sentence") if not row.get(column)]
            language = row.get("locale") or root.name
            yield CorpusEntry(
                Path(audio).stem or line,
                root / "clips" / audio,
                text.strip(),
                language,
                extra={"speaker": row.get("client_id", "")[:16], "split": name},
                problem=f"{line} has no {' and no '.join(missing)}" if missing else None,
            )


def aishell(root: Path, split: str | None) -> Iterator[CorpusEntry]:
    """Read AISHELL-1: `transcript/aishell_transcript_v0.8.txt` beside `wav/SPLIT/SPEAKER`.

    The spaces between words in the published transcripts are removed.
    """
    root = root / "data_aishell" if (root / "data_aishell").is_dir() else root
    listing = require_path(root, "transcript/aishell_transcript_v0.8.txt", corpus="AISHELL-1")
    texts = {}
    for line in _lines(listing):
        key, *words = line.split()
        texts[key] = "".join(words)
    wav = require_path(root, "wav", corpus="AISHELL-1")
    splits = sorted(folder.name for folder in wav.iterdir() if folder.is_dir())
    if not splits and (archives := sorted(wav.glob("*.tar.gz"))):
        raise UsageError(f"{wav} holds archives ({archives[0].name}, …): unpack them there first")
    for name in select_splits(split, splits, root):
        for path in sorted((root / "wav" / name).glob("*/*.wav")):
            if path.stem in texts:  # a few recordings were never transcribed
                speaker = path.parent.name
                extra = {"speaker": speaker, "split": name}
                yield CorpusEntry(path.stem, path, texts[path.stem], "zh", extra=extra)


def wenetspeech(root: Path, split: str | None) -> Iterator[CorpusEntry]:
    """Read WenetSpeech: segments of long recordings; the splits are its subsets (L, S, DEV …)."""
    listing = require_path(root, "WenetSpeech.json", corpus="WenetSpeech")
    available: set[str] = set()
    for recording in _recordings(listing):
        for segment in recording["segments"]:
            subsets = [str(subset) for subset in segment.get("subsets", ())]
            available.update(subsets)
            if split is not None and split not in subsets:
                continue
            yield CorpusEntry(
                id=str(segment["sid"]),
                path=root / recording["path"],
                text=str(segment["text"]).strip(),
                language="zh",
                start_s=float(segment["begin_time"]),
                end_s=float(segment["end_time"]),
                extra={"recording": str(recording["aid"]), "split": "+".join(subsets)},
            )
    if split is not None:
        select_splits(split, sorted(available), root)


def _recordings(listing: Path) -> list[dict[str, Any]]:
    try:
        recordings = json.loads(listing.read_text(encoding="utf-8"))["audios"]
        for recording in recordings:
            for segment in recording["segments"]:
                _ = segment["sid"], segment["begin_time"], segment["end_time"], segment["text"]
            _ = recording["path"], recording["aid"]
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"{listing} is not WenetSpeech's listing: {error!r}") from error
    return list(recordings)


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        try:
            yield from (line.rstrip("\n") for line in lines if line.strip())
        except UnicodeDecodeError as error:
            raise RecordError(f"{path} is not UTF-8: {error}") from error
