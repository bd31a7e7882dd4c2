"""Test sets: what is to be transcribed, whatever form it comes in.

Read are the records of Voices-in-the-Wild-Bench, our manifests and simulated data sets, plain
tables of `audio,text` (CSV or JSONL) and NeMo's manifests. Relative audio paths start at the file
that names them, or at a given root.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from megaasr.audio.clips import exists
from megaasr.errors import RecordError, UsageError
from megaasr.score.predictions import read_objects
from megaasr.score.subsets import CLEAN, category_of_scenario, parse_subset

LISTING_FILE = "simulated.jsonl"
"""The manifest of our simulated data sets (`simulate.corpus.listing`, which needs pyarrow)."""

Kind = Literal["bench", "simulated", "manifest", "table"]
# Where records keep the sound, the words and the name; the first that is there counts.
_AUDIO = ("audio", "audio_path", "audio_filepath", "path", "file")
_TEXT = ("text", "answer", "transcript", "sentence", "solution")
_ID = ("id", "name", "index")


@dataclass(frozen=True, slots=True)
class TestClip:
    """One clip that is to be transcribed; fields as in `result.Clip`."""

    __test__ = False  # pytest takes the name for a class of tests

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
    """A test set that was read.

    Attributes:
        path: as it was given.
        audio_root: the folder that relative audio paths start at.
        kind: what its records look like.
        clips: in the file's order.
    """

    __test__ = False

    path: Path
    audio_root: Path
    kind: Kind
    clips: tuple[TestClip, ...]

    @property
    def sha256(self) -> str:
        """Hash of what is to be transcribed, and as what: id, audio, text, language."""
        rows = [[clip.id, clip.audio, clip.text, clip.language] for clip in self.clips]
        return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()

    def require_audio(self) -> None:
        """Raise if the audio is not where the records say.

        Raises:
            UsageError: none of the first clips has a file; a few missing ones are reported later.
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
        audio_root: where relative audio paths start; None for the file's folder.
        limit: take the first clips only.

    Raises:
        UsageError: there is no such file, it is empty, or an id occurs twice.
        RecordError: a line is no record; names file and line.
    """
    file = _file_of(path)
    root = audio_root or file.parent
    clips: list[TestClip] = []
    kinds: set[Kind] = set()
    for number, record in _records(file):
        if limit is not None and len(clips) >= limit:
            break
        try:
            kind, clip = _clip(record)
        except RecordError as error:
            raise RecordError(f"{file}, line {number}: {error}") from error
        kinds.add(kind)
        clips.append(clip)
    if not clips:
        raise UsageError(f"the test set {file} has no clips")
    _require_unique(clips, file)
    return TestSetFile(path, root, kinds.pop() if len(kinds) == 1 else "table", tuple(clips))


def _file_of(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise UsageError(f"there is no test set {path}")
    for name in (LISTING_FILE, "graded.jsonl"):
        if (path / name).is_file():
            return path / name
    found = sorted(one for one in path.iterdir() if one.suffix in {".jsonl", ".csv", ".tsv"})
    if len(found) != 1:
        raise UsageError(
            f"{path} holds {len(found)} .jsonl, .csv and .tsv files, none called {LISTING_FILE}; "
            "name the one that is the test set"
        )
    return found[0]


def _records(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and record."""
    if file.suffix.lower() in {".csv", ".tsv"}:
        yield from _table_rows(file)
    else:
        yield from read_objects(file)


def _table_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = csv.DictReader(text, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
            for row in rows:
                yield rows.line_num, {k: v for k, v in row.items() if k and v is not None}
    except (csv.Error, UnicodeDecodeError) as error:
        raise RecordError(f"{file} cannot be read as a table: {error}") from error


def _clip(record: dict[str, Any]) -> tuple[Kind, TestClip]:
    audio, text = _first(record, _AUDIO), _first(record, _TEXT)
    if not isinstance(audio, str) or not audio:
        raise RecordError(f"no audio: one of {', '.join(_AUDIO)} must be a path")
    if text is None:
        raise RecordError(f"no reference: one of {', '.join(_TEXT)} must be there")
    text = _plain(str(text))
    name = next((record[one] for one in _ID if record.get(one) not in (None, "")), audio)
    clip = TestClip(
        id=str(name),
        audio=audio,
        text=text,
        language=_text_or_none(record.get("language")) or guess_language(text),
        duration_s=_number(record, "duration_s", "duration"),
        base_error_rate=_number(record, "base_error_rate"),
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
            severity=None if scenario == CLEAN else float(record["severity"]),
            snr_db=_lowest_snr(record.get("draw")),
        )
    kind: Kind = "manifest" if {"id", "audio", "text"} <= record.keys() else "table"
    return kind, clip


_PREFIX = re.compile(r"^language [A-Za-z]+<asr_text>")


def _plain(text: str) -> str:
    """Take away what training data of Qwen3-ASR have before the words."""
    return _PREFIX.sub("", text)


def _first(record: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((record[name] for name in names if record.get(name) is not None), None)


def _number(record: Mapping[str, Any], *names: str) -> float | None:
    value = _first(record, names)
    try:
        return None if value in (None, "") else float(value)
    except (TypeError, ValueError) as error:
        raise RecordError(f"{names[0]} is {value!r}, not a number") from error


def _text_or_none(value: Any) -> str | None:
    return None if value in (None, "") else str(value)


def _boolean_or_none(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _lowest_snr(draw: Any) -> float | None:
    """Return the SNR of the loudest noise of a draw."""
    if isinstance(draw, str):
        draw = json.loads(draw)
    steps = draw.get("steps", []) if isinstance(draw, dict) else []
    return min((float(s["snr_db"]) for s in steps if "snr_db" in s), default=None)


_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_KANA = re.compile("[\u3040-\u30ff]")


def guess_language(text: str) -> str | None:
    """Return `zh` for a text of Chinese characters without kana; else None (scored by words)."""
    return "zh" if _HAN.search(text) and not _KANA.search(text) else None


def _require_unique(clips: Sequence[TestClip], file: Path) -> None:
    seen: set[str] = set()
    for clip in clips:
        if clip.id in seen:
            raise UsageError(f"{file}: the id {clip.id} occurs twice; predictions go by it")
        seen.add(clip.id)
