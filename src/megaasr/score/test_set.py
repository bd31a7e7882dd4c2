"""Read test sets: clips with references, in any of the accepted formats.

Accepted are the records of Voices-in-the-Wild-Bench, our manifests and simulated data sets, plain
tables of `audio,text` (CSV, TSV or JSONL), and NeMo's manifests, whose segments are honoured. Audio
paths are relative to the file that names them, or to a root that the caller names. The names of
fields are those of `megaasr.records.fields`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from megaasr import strict_json
from megaasr.audio.clips import exists
from megaasr.errors import RecordError, UsageError
from megaasr.records.fields import clip_fields, language_of, number_of
from megaasr.records.tables import read_rows
from megaasr.score.subsets import CLEAN, category_of_scenario, parse_subset

LISTING_FILE = "simulated.jsonl"
"""The manifest of our simulated data sets (`simulate.corpus.listing`, which needs pyarrow)."""

TestSetKind = Literal["bench", "simulated", "manifest", "table"]


@dataclass(frozen=True, slots=True)
class TestClip:
    """One clip to transcribe; other fields as in `result.ScoredClip`.

    Attributes:
        duration_s: length in seconds; None if the record does not say.
        speaker: name of the speaker; None if unknown.
        record: the record that the clip was read from; None if it was made in code.
    """

    __test__ = False  # pytest would collect a class of this name

    id: str
    audio: str
    text: str
    language: str | None = None
    duration_s: float | None = None
    category: str | None = None
    origin: Literal["real", "simulated"] | None = None
    scenario: str | None = None
    severity: float | None = None
    snr_db: float | None = None
    base_error_rate: float | None = None
    speaker: str | None = None
    held_out_voice: bool | None = None
    record: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class TestSetFile:
    """A test set as it was read.

    Attributes:
        path: the file or folder, as the caller named it.
        audio_root: folder that audio paths are relative to.
        kind: format of the records.
        clips: the clips in the order of the file.
    """

    __test__ = False

    path: Path
    audio_root: Path
    kind: TestSetKind
    clips: tuple[TestClip, ...]

    @property
    def sha256(self) -> str:
        """Hash of id, audio path, text and language of all clips."""
        rows = [[clip.id, clip.audio, clip.text, clip.language] for clip in self.clips]
        return hashlib.sha256(strict_json.dumps(rows, ensure_ascii=False).encode()).hexdigest()

    def require_audio(self) -> None:
        """Check that audio files exist; single missing files are reported later.

        Raises:
            UsageError: none of the first 20 clips has an audio file.
        """
        if not any(exists(self.audio_root, clip.audio) for clip in self.clips[:20]):
            raise UsageError(
                f"none of the first clips of {self.path} has its audio ({self.clips[0].audio}) "
                f"below {self.audio_root}; name the folder with --audio-root"
            )


def read_test_set(
    path: Path, *, audio_root: Path | None = None, limit: int | None = None
) -> TestSetFile:
    """Read a test set.

    Args:
        path: a JSONL or CSV file, or a folder with `simulated.jsonl` or a single such file.
        audio_root: folder that audio paths are relative to; None for the file's folder.
        limit: number of clips to read; None for all.

    Raises:
        UsageError: there is no such file, it has no clips, or an id occurs twice.
        RecordError: a line is not a record; names file and line.
    """
    file = _find_file(path)
    root = audio_root or file.parent
    clips: list[TestClip] = []
    kinds: set[TestSetKind] = set()
    lines: dict[str, int] = {}  # of each id
    for number, record in read_rows(file):
        if limit is not None and len(clips) >= limit:
            break
        try:
            kind, clip = _parse_record(record)
        except RecordError as error:
            raise RecordError(f"{file}, line {number}: {error}") from error
        if lines.setdefault(clip.id, number) != number:
            raise UsageError(
                f"{file}, line {number}: the id {clip.id} occurs twice, first in line "
                f"{lines[clip.id]}; ids must be unique, because predictions are matched by id"
            )
        kinds.add(kind)
        clips.append(clip)
    if not clips:
        raise UsageError(f"the test set {file} has no clips")
    return TestSetFile(path, root, kinds.pop() if len(kinds) == 1 else "table", tuple(clips))


def _find_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise UsageError(f"there is no test set {path}")
    for name in (LISTING_FILE, "graded.jsonl"):
        if (path / name).is_file():
            return path / name
    files = sorted(file for file in path.iterdir() if file.suffix in {".jsonl", ".csv", ".tsv"})
    if len(files) != 1:
        raise UsageError(
            f"{path} holds {len(files)} .jsonl, .csv and .tsv files, none called {LISTING_FILE}; "
            "name the one that is the test set"
        )
    return files[0]


def _parse_record(record: dict[str, Any]) -> tuple[TestSetKind, TestClip]:
    fields = clip_fields(record)
    text = plain_reference(fields.text)
    clip = TestClip(
        id=fields.id,
        audio=fields.audio,
        text=text,
        language=reference_language(record, text),
        duration_s=fields.duration_s,
        base_error_rate=number_of(record, "base_error_rate"),
        speaker=_text_or_none(record.get("speaker")),
        held_out_voice=_boolean_or_none(record.get("held_out_voice")),
        record=record,
    )
    if "subset" in record and "answer" in record:
        subset = parse_subset(str(record["subset"]), record.get("source_scenes"))
        return "bench", replace(
            clip,
            language=subset.language or clip.language,
            category=subset.category,
            origin=subset.origin,
        )
    if "scenario" in record and "severity" in record:
        scenario = str(record["scenario"])
        return "simulated", replace(
            clip,
            category=category_of_scenario(scenario),
            origin=None if scenario == CLEAN else "simulated",
            scenario=scenario,
            severity=None if scenario == CLEAN else number_of(record, "severity"),
            snr_db=_lowest_snr(record.get("draw")),
        )
    kind: TestSetKind = "manifest" if {"id", "audio", "text"} <= record.keys() else "table"
    return kind, clip


_PREFIX = re.compile(r"^language [A-Za-z]+<asr_text>")


def plain_reference(text: str) -> str:
    """Remove the prefix that training data of Qwen3-ASR have before the transcript."""
    return _PREFIX.sub("", text)


def reference_language(record: Mapping[str, Any], reference: str) -> str | None:
    """Return the canonical code of a reference's language: stated in the record, or guessed.

    Raises:
        RecordError: the language is not a string.
    """
    return language_of(record) or guess_language(reference)


def _text_or_none(value: Any) -> str | None:
    return None if value in (None, "") else str(value)


def _boolean_or_none(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _lowest_snr(draw: Any) -> float | None:
    """Return the lowest speech-to-noise ratio in the steps of a simulation; None without noise."""
    try:
        if isinstance(draw, str):
            draw = json.loads(draw)
        steps = draw.get("steps", []) if isinstance(draw, dict) else []
        return min((float(s["snr_db"]) for s in steps if "snr_db" in s), default=None)
    except (ValueError, TypeError, RecursionError) as error:
        raise RecordError(f"draw is not the record of a simulation: {error}") from error


_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_KANA = re.compile("[\u3040-\u30ff]")


def guess_language(text: str) -> str | None:
    """Return `zh` for a text with Chinese characters and no kana; else None (scored by words)."""
    return "zh" if _HAN.search(text) and not _KANA.search(text) else None
