"""Predictions of systems: one JSON object per line, appended as they come, so that runs resume."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from megaasr import strict_json
from megaasr.audio.waveform import Waveform
from megaasr.errors import RecordError
from megaasr.records.fields import PREDICTION_FIELDS, names_of, prediction_of, text_of
from megaasr.records.tables import read_rows
from megaasr.score.result import SettingValue

UNUSABLE = "the audio cannot be used: "
"""Beginning of the error of a clip whose audio could not be read, for any system."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A system's output for one clip; the fields are described at `result.Hypothesis`.

    Attributes:
        duration_s: length of the audio in seconds; None if unknown.
    """

    text: str
    error: str | None = None
    language: str | None = None
    route: str | None = None
    degraded_probability: float | None = None
    confidence: float | None = None
    truncated: bool = False
    seconds: float | None = None
    duration_s: float | None = None


class System(Protocol):
    """A recogniser under test."""

    @property
    def name(self) -> str:
        """Name of the system in the result, unique there."""
        ...

    @property
    def kind(self) -> str:
        """`megaasr`, `whisper`, …."""
        ...

    @property
    def settings(self) -> Mapping[str, SettingValue]:
        """All else that determines the system's output."""
        ...

    @property
    def device(self) -> str | None:
        """Device that the system runs on; None if unknown."""
        ...

    def prepare(self) -> None:
        """Load the model; the time this takes does not count as recognition."""
        ...

    def close(self) -> None:
        """Release the model."""
        ...

    def predict(self, waveforms: list[Waveform]) -> list[Prediction]:
        """Transcribe clips; a clip that cannot be transcribed gets an `error` and stops no other.

        Args:
            waveforms: 16 kHz mono audio.

        Returns:
            One prediction per waveform, in the same order.
        """
        ...


class PredictionLog:
    """The predictions of a benchmark, by system and clip.

    Args:
        path: a JSONL file; existing predictions are read, and an incomplete last line is removed.
            None keeps the predictions in memory only.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._predictions: dict[tuple[str, str], Prediction] = {}
        if path is None:
            return
        columns = {"system", "id", *(field.name for field in fields(Prediction))}
        for record in read_log(path, lambda record: record.keys() == columns):
            system, clip = record.pop("system"), record.pop("id")
            self._predictions[system, clip] = Prediction(**record)

    def get(self, system: str, clip: str) -> Prediction | None:
        """Return a system's prediction for a clip, or None if there is none yet."""
        return self._predictions.get((system, clip))

    def __getitem__(self, key: tuple[str, str]) -> Prediction:
        """Return the prediction for (system, clip)."""
        return self._predictions[key]

    def add(self, system: str, predictions: Mapping[str, Prediction]) -> None:
        """Append predictions by clip; they are in the file when this returns."""
        if self._path is not None:
            lines = [
                strict_json.dumps(
                    {"system": system, "id": clip, **asdict(prediction)}, ensure_ascii=False
                )
                for clip, prediction in predictions.items()
            ]
            with self._path.open("a", encoding="utf-8", errors="backslashreplace") as log:
                log.write("".join(f"{line}\n" for line in lines))
                log.flush()
        self._predictions |= {(system, clip): value for clip, value in predictions.items()}


def read_log(
    path: Path, accept: Callable[[dict[str, Any]], bool] = lambda record: True
) -> Iterator[dict[str, Any]]:
    """Yield the records of a JSONL file that a killed process may have left, up to a damaged one.

    The damaged record and everything after it is cut off the file, so that more can be appended;
    append only after the last record was taken from the iterator.

    Args:
        path: the file; a missing file has no records.
        accept: returns False for a record that is not of the expected form; it counts as damaged.
    """
    if not path.is_file():
        return
    intact = 0  # bytes
    content = path.read_bytes()
    for line in content.splitlines(keepends=True):
        try:
            record = json.loads(line.decode("utf-8"))
        except ValueError:
            break  # only a last line can be incomplete, and what follows a damaged one is doubtful
        if not line.endswith(b"\n") or not isinstance(record, dict) or not accept(record):
            break
        intact += len(line)
        yield record
    if intact < len(content):  # so that what is appended starts on a new line
        with path.open("r+b") as log:
            log.truncate(intact)


def read_predictions_file(path: Path) -> dict[str, str]:
    """Return the texts of a predictions file, by every name that a record gives its clip.

    Accepted are the files of Voices-in-the-Wild-Bench (`index`, `name`, `audio_path`,
    `prediction`), of the Open ASR Leaderboard (`audio_filepath`, `pred_text`), and our
    `predictions.jsonl` with a single system: JSONL, CSV or TSV with the names of
    `megaasr.records.fields`. Where no field is a prediction, `text` is.

    Raises:
        RecordError: a line is not a prediction, or two lines differ about the same clip; names
            file and line.
    """
    texts: dict[str, str] = {}
    systems: set[str] = set()
    try:
        rows = list(read_rows(path))
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror or error}") from error
    for number, record in rows:
        systems |= {str(record["system"])} if "system" in record else set()
        if len(systems) > 1:
            raise RecordError(
                f"{path} holds predictions of several systems ({', '.join(sorted(systems))}, …); "
                "give a file of one, such as those of open_asr_leaderboard/ beside it"
            )
        try:
            text = prediction_of(record)
            text = text_of(record, ["text"]) if text is None else text
            names = names_of(record)
            if text is None or not names:
                raise RecordError(
                    f"a prediction needs one of {', '.join(PREDICTION_FIELDS)} or text, and the "
                    "id, name, index or audio path of its clip"
                )
        except RecordError as error:
            raise RecordError(f"{path}, line {number}: {error}") from error
        for name in names:
            if texts.setdefault(name, text) != text:
                raise RecordError(f"{path}, line {number}: a second prediction for {name}")
    return texts
