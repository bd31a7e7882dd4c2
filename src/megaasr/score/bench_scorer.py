"""The numbers of the published scorer of Voices-in-the-Wild-Bench, from a predictions file.

Corpus-level error rates (all edits over all reference tokens) in per cent, rounded to two places.
Chinese is scored by characters, English and everything not marked as Chinese by words. Rates are
given overall, by language, and by category and origin, under the published names (`strong_echo`,
`sim`).

One difference: a record that states its category only in its subset (`sim-en-noise`) is counted in
that category. The published scorer reads `source_scenes` and `combination` only, and counts such
records under an empty name; its totals are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from megaasr.errors import RecordError
from megaasr.records.tables import read_objects
from megaasr.score.subsets import CATEGORIES, parse_subset
from megaasr.text.error_rate import ErrorCounts, count_errors

PUBLISHED_NAMES = {"echo": "strong_echo"}
"""Names of categories in the published scorer that differ from ours, by our name."""


class Bucket(TypedDict):
    """The pooled error rate of some clips.

    Attributes:
        error_rate: errors per reference token, in per cent.
        errors: number of errors.
        reference_length: tokens in the references.
        count: number of clips.
    """

    error_rate: float
    errors: int
    reference_length: int
    count: int


class Scores(TypedDict):
    """The output of the published scorer.

    Attributes:
        overall: all clips.
        by_language: clips by `en` and `zh`.
        breakdown: clips by category and origin (`real`, `sim`, `unknown`).
    """

    overall: Bucket
    by_language: dict[str, Bucket]
    breakdown: dict[str, dict[str, Bucket]]


class _Pool:
    def __init__(self) -> None:
        self._counts, self._clips = ErrorCounts(), 0

    def add(self, counts: ErrorCounts) -> None:
        self._counts += counts
        self._clips += 1

    def bucket(self) -> Bucket:
        length, errors = self._counts.reference_length, self._counts.errors
        return {
            "error_rate": round(errors / length * 100, 2) if length else 0.0,
            "errors": errors,
            "reference_length": length,
            "count": self._clips,
        }


def score_records(records: Iterable[Mapping[str, Any]], normalizer: str = "bench") -> Scores:
    """Score records with the fields `answer`, `prediction` and `subset`.

    Args:
        records: records of a predictions file.
        normalizer: `bench` for the published numbers; another one gives the same tables under it.

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
        for pool in (overall, languages.setdefault(language, _Pool()), cell):
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


_PREDICTION_FIELDS = ("prediction", "pred_text", "hypothesis")


def read_answers(path: Path) -> list[dict[str, Any]]:
    """Return the records of a predictions file, each with `answer` and `prediction`.

    The field `text` is accepted instead of `answer`, `pred_text` and `hypothesis` instead of
    `prediction`; a missing prediction becomes None.

    Raises:
        RecordError: the file cannot be read or is empty, a record has no answer, or no record has a
            prediction.
    """
    records = []
    for number, record in read_objects(path):
        if {"system", "id", "text"} <= record.keys() and "answer" not in record:
            raise RecordError(
                f"{path} is the log of mega-asr bench, which has no references; score a file of "
                "open_asr_leaderboard/ beside it, or see its result.json with mega-asr report"
            )
        answer = next((record[n] for n in ("answer", "text") if record.get(n) is not None), None)
        if answer is None:
            raise RecordError(f"{path}, line {number}: no answer (or text) to score against")
        prediction = next((record[name] for name in _PREDICTION_FIELDS if name in record), None)
        records.append({**record, "answer": answer, "prediction": prediction})
    if not records:
        raise RecordError(f"{path} holds no predictions")
    if all(record["prediction"] is None for record in records):
        raise RecordError(
            f"{path}: no record has a prediction; it belongs in the field "
            f"{' or '.join(_PREDICTION_FIELDS)}"
        )
    return records


def bench_language(record: Mapping[str, Any]) -> str:
    """Return `zh` or `en` by the published scorer's rules: first the subset, then `language`."""
    parts = str(record.get("subset", "")).lower().split("-")
    for language in ("zh", "en"):
        if len(parts) > 1 and language in parts:
            return language
    stated = str(record.get("lang", record.get("language", ""))).lower()
    return "zh" if stated in {"zh", "cn", "chinese"} else "en"


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
