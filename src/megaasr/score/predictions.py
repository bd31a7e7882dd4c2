"""What systems said: one JSON object a line, appended as it comes, so that a run can go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from megaasr.audio.waveform import Waveform
from megaasr.errors import RecordError

UNUSABLE = "the audio cannot be used: "
"""How the error of a clip begins that no system could hear."""

_TEXT = ("prediction", "pred_text", "hypothesis", "text")
_ID = ("id", "name", "index", "audio_path", "audio_filepath", "audio")


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a system said about one clip; fields as in `result.Hypothesis`."""

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
    """Something that transcribes clips."""

    @property
    def name(self) -> str:
        """What it is called in the result; unique there."""
        ...

    @property
    def kind(self) -> str:
        """`megaasr`, `openai-whisper`, ..."""
        ...

    @property
    def settings(self) -> Mapping[str, str | int | float | bool | None]:
        """What else decides about its words."""
        ...

    @property
    def device(self) -> str | None:
        """Where it runs."""
        ...

    def prepare(self) -> None:
        """Load what is needed; its time does not count as recognition."""
        ...

    def close(self) -> None:
        """Let go of what was loaded."""
        ...

    def predict(self, waveforms: list[Waveform]) -> list[Prediction]:
        """Transcribe clips; a clip that it cannot transcribe has an `error`, and stops no other."""
        ...


class PredictionLog:
    """The predictions of a benchmark, by system and clip.

    Args:
        path: a JSONL file; what is there is read, a last line that was cut off is dropped.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[tuple[str, str], Prediction] = {}
        known = {"system", "id", *(one.name for one in fields(Prediction))}
        for record in read_log(path, lambda record: record.keys() == known):
            system, clip = record.pop("system"), record.pop("id")
            self._known[system, clip] = Prediction(**record)

    def get(self, system: str, clip: str) -> Prediction | None:
        """Return what a system said about a clip, if it was asked already."""
        return self._known.get((system, clip))

    def known(self, system: str, clip: str) -> Prediction:
        """Return what a system said about a clip that it was asked for."""
        return self._known[system, clip]

    def add(self, system: str, said: Mapping[str, Prediction]) -> None:
        """Append predictions by clip; on the disk when this returns."""
        lines = [
            json.dumps({"system": system, "id": clip, **asdict(one)}, ensure_ascii=False) + "\n"
            for clip, one in said.items()
        ]
        with self._path.open("a", encoding="utf-8", errors="backslashreplace") as log:
            log.write("".join(lines))
            log.flush()
        self._known |= {(system, clip): one for clip, one in said.items()}


def read_log(
    path: Path, accept: Callable[[dict[str, Any]], bool] = lambda record: True
) -> Iterator[dict[str, Any]]:
    """Yield the records of a JSONL file that a killed process may have left, up to a damaged one.

    The damaged one and what follows it are cut off the file, so that it can be appended to; do
    so after the last record was taken.

    Args:
        path: of the file; one that is not there has no records.
        accept: whether a record is one of ours; one that is not counts as damaged.
    """
    if not path.is_file():
        return
    good = 0
    content = path.read_bytes()
    for line in content.splitlines(keepends=True):
        try:
            record = json.loads(line.decode("utf-8"))
        except ValueError:
            break  # only the last line can be cut off, and what follows a damaged one is doubtful
        if not line.endswith(b"\n") or not isinstance(record, dict) or not accept(record):
            break
        good += len(line)
        yield record
    if good < len(content):  # so that the next line begins a line
        with path.open("r+b") as log:
            log.truncate(good)


def read_predictions_file(path: Path) -> dict[str, str]:
    """Return the texts of a predictions file by every name that its records give a clip.

    Read are the bench's own files (`index`, `name`, `audio_path`, `prediction`), the Open ASR
    Leaderboard's (`audio_filepath`, `pred_text`) and our `predictions.jsonl` of a single system.

    Raises:
        RecordError: a line is no prediction, or two differ about one clip; names file and line.
    """
    said: dict[str, str] = {}
    systems: set[str] = set()
    for number, record in read_objects(path):
        systems |= {str(record["system"])} if "system" in record else set()
        if len(systems) > 1:
            raise RecordError(
                f"{path} holds what several systems said ({', '.join(sorted(systems))}, …); give a "
                "file of one, such as those of open_asr_leaderboard/ beside it"
            )
        text = next((record[name] for name in _TEXT if record.get(name) is not None), None)
        names = [str(record[name]) for name in _ID if record.get(name) not in (None, "")]
        if not isinstance(text, str) or not names:
            raise RecordError(
                f"{path}, line {number}: a prediction needs one of {', '.join(_TEXT)} and one of "
                f"{', '.join(_ID)}"
            )
        for name in names:
            if said.setdefault(name, text) != text:
                raise RecordError(f"{path}, line {number}: a second prediction for {name}")
    return said


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and object of a JSONL file.

    Raises:
        RecordError: it cannot be read, or a line is no JSON object; names file and line.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line.decode("utf-8"))
                except ValueError as error:
                    raise RecordError(f"{path}, line {number}: no JSON ({error})") from error
                if not isinstance(record, dict):
                    raise RecordError(f"{path}, line {number}: the line is not a JSON object")
                yield number, record
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror or error}") from error
