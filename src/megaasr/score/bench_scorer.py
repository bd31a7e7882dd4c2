"""The numbers of the published scorer of Voices-in-the-Wild-Bench, from a predictions file.

Corpus-level error rates (all edits over all reference tokens) in per cent, rounded to two places.
Each record is scored by the rules of its language: Chinese and the other languages without spaces
by characters, all others by words. Rates are given overall, by language, and by category and
origin, under the published names (`strong_echo`, `sim`).

Differences: a record that states its category only in its subset (`sim-en-noise`) is counted in
that category. The published scorer reads `source_scenes` and `combination` only, and counts such
records under an empty name; its totals are the same. It knows two languages, and takes everything
that is not marked as Chinese for English; here, languages may have any name, and records without
one are counted as `unknown`. A set without a word in its references has no rate, not that of 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from megaasr.errors import RecordError
from megaasr.records.fields import PREDICTION_FIELDS, TEXT_FIELDS, prediction_of, text_of
from megaasr.records.tables import read_rows
from megaasr.score.subsets import CATEGORIES, parse_subset
from megaasr.score.test_set import plain_reference, reference_language
from megaasr.text.error_rate import ErrorCounts, count_errors

PUBLISHED_NAMES = {"echo": "strong_echo"}
"""Names of categories in the published scorer that differ from ours, by our name."""

UNKNOWN_LANGUAGE = "unknown"
"""Name under which clips are counted whose language is not known."""

_MAX_NAMED = 5


class Bucket(TypedDict):
    """The pooled error rate of some clips.

    Attributes:
        error_rate: errors per reference token, in per cent; None if the references have no tokens.
        errors: number of errors, with the insertions in clips without speech.
        reference_length: tokens in the references.
        count: number of clips.
        clips_without_speech: number of clips whose reference has no tokens.
        inserted_without_speech: tokens of the predictions for these clips.
    """

    error_rate: float | None
    errors: int
    reference_length: int
    count: int
    clips_without_speech: int
    inserted_without_speech: int


class Scores(TypedDict):
    """The output of the published scorer.

    Attributes:
        overall: all clips.
        by_language: clips by language (`en`, `zh`, …, `unknown`).
        breakdown: clips by category and origin (`real`, `sim`, `unknown`).
    """

    overall: Bucket
    by_language: dict[str, Bucket]
    breakdown: dict[str, dict[str, Bucket]]


class _Pool:
    def __init__(self) -> None:
        self._counts, self._clips = ErrorCounts(), 0
        self._silent_clips = self._inserted = 0

    def add(self, counts: ErrorCounts) -> None:
        self._counts += counts
        self._clips += 1
        if not counts.reference_length:
            self._silent_clips += 1
            self._inserted += counts.insertions

    def bucket(self) -> Bucket:
        length, errors = self._counts.reference_length, self._counts.errors
        return {
            "error_rate": round(errors / length * 100, 2) if length else None,
            "errors": errors,
            "reference_length": length,
            "count": self._clips,
            "clips_without_speech": self._silent_clips,
            "inserted_without_speech": self._inserted,
        }


def score_records(records: Iterable[Mapping[str, Any]], normalizer: str = "bench") -> Scores:
    """Score records with the fields `answer`, `prediction`, and `subset` or `language`.

    Args:
        records: records of a predictions file; a missing prediction counts as an empty one.
        normalizer: `bench@1` for the published numbers; another one gives the same tables under it.

    Raises:
        RecordError: a record has no answer; names its position.
    """
    overall, languages = _Pool(), dict[str, _Pool]()
    table = {name: {"real": _Pool(), "sim": _Pool()} for name in CATEGORIES}
    for number, record in enumerate(records, 1):
        if record.get("answer") is None:
            raise RecordError(
                f"record {number} has no answer, which predictions are scored against"
            )
        language = bench_language(record)
        counts = count_errors(
            str(record["answer"]),
            str(record.get("prediction") or ""),
            language=language,
            normalizer=normalizer,
        )
        category, origin = _category_and_origin(record)
        cell = table.setdefault(category, {}).setdefault(origin, _Pool())
        of_language = languages.setdefault(language or UNKNOWN_LANGUAGE, _Pool())
        for pool in (overall, of_language, cell):
            pool.add(counts)
    return {
        "overall": overall.bucket(),
        "by_language": {language: pool.bucket() for language, pool in languages.items()},
        "breakdown": {
            PUBLISHED_NAMES.get(category, category): {
                origin: pool.bucket() for origin, pool in pools.items()
            }
            for category, pools in table.items()
        },
    }


def read_answers(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file of references and predictions, each with `answer` and
    `prediction`.

    The fields may have any of the names in `megaasr.records.fields`; the file is JSONL, CSV or TSV.

    Raises:
        RecordError: the file cannot be read or is empty, an id occurs twice, or a record has no
            reference or no prediction; names lines or ids.
    """
    records: list[dict[str, Any]] = []
    lines: dict[str, int] = {}  # of each id
    without: list[str] = []
    try:
        for number, record in read_rows(path):
            try:
                prediction = prediction_of(record)
                records.append({**record, "answer": _answer(record), "prediction": prediction})
                bench_language(records[-1])
            except RecordError as error:
                raise RecordError(f"{path}, line {number}: {error}") from error
            name = str(record.get("id") or "")
            if name and lines.setdefault(name, number) != number:
                raise RecordError(
                    f"{path}, line {number}: the id {name} occurs twice, first in line "
                    f"{lines[name]}; score one prediction per clip"
                )
            if prediction is None:
                without.append(name or f"line {number}")
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror or error}") from error
    if not records:
        raise RecordError(f"{path} holds no predictions")
    if without:
        more = ", …" if len(without) > _MAX_NAMED else ""
        raise RecordError(
            f"{path}: {len(without)} of {len(records)} records have no prediction "
            f"({', '.join(without[:_MAX_NAMED])}{more}); it belongs in one of the fields "
            f"{', '.join(PREDICTION_FIELDS)}, as an empty text if nothing was recognised"
        )
    return records


def _answer(record: Mapping[str, Any]) -> str:
    if {"system", "id", "text"} <= record.keys() and "answer" not in record:
        raise RecordError(
            "this is the log of mega-asr bench, which has no references; score a file of "
            "open_asr_leaderboard/ beside it, or see its result.json with mega-asr report"
        )
    answer = text_of(record, TEXT_FIELDS)
    if answer is None:
        raise RecordError(
            f"no answer to score against; it belongs in one of the fields {', '.join(TEXT_FIELDS)}"
        )
    return plain_reference(answer)


def bench_language(record: Mapping[str, Any]) -> str | None:
    """Return the language of a record with an `answer`: of its subset, stated, or guessed.

    Raises:
        RecordError: the language is not a string.
    """
    parts = str(record.get("subset", "")).lower().split("-")
    for language in ("zh", "en"):
        if len(parts) > 1 and language in parts:
            return language
    return reference_language(record, str(record["answer"]))


def _category_and_origin(record: Mapping[str, Any]) -> tuple[str, str]:
    """Return category (empty if the record states none) and `real`, `sim` or `unknown`."""
    subset = str(record.get("subset", "")).lower()
    origin = next((name for name in ("real", "sim") if subset.startswith(f"{name}-")), "unknown")
    scenes = record.get("source_scenes")
    for name in (subset, *_first_scene(scenes), str(record.get("combination") or "")):
        try:
            return parse_subset(name, scenes).category, origin
        except RecordError:
            continue
    return "", origin


def _first_scene(scenes: object) -> list[str]:
    return [str(scenes[0])] if isinstance(scenes, list) and scenes else []
