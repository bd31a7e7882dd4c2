"""The columns of a data set: ours, and those that come with the utterances."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.records import Utterance

ColumnType = Literal["string", "int64", "float64", "bool"]
_INT64 = range(-(2**63), 2**63)

# Beside `audio`. Names in the manifest that are among these give way to ours.
OWN: dict[str, ColumnType] = {
    "id": "string",
    "text": "string",
    "language": "string",
    "duration_s": "float64",
    "scenario": "string",
    "severity": "float64",
    "seed": "int64",
    "copy": "int64",
    "speed": "float64",
    "draw": "string",
    "notes": "string",
    "parent_id": "string",
    "parent_audio": "string",
    "clipped_samples": "int64",
    "output_lufs": "float64",
}
AUDIO = "audio"
# Where a clip is, in the manifest of the data set; not in the shards.
PLACE = ("shard", "row")


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a data set, in order.

    Attributes:
        inherited: columns of the utterances, by name, with their types.
    """

    inherited: Mapping[str, ColumnType]

    @property
    def flat(self) -> dict[str, ColumnType]:
        """Every column but the audio."""
        return {**OWN, **self.inherited}

    def inherit(self, utterance: Utterance) -> dict[str, Any]:
        """Return an utterance's values for the inherited columns; None where it has none."""
        return {
            name: fit(utterance.extra.get(name), wanted) for name, wanted in self.inherited.items()
        }


def features_json(flat: Mapping[str, ColumnType]) -> str:
    """Return what Hugging Face's `datasets` reads: the audio column is to be decoded.

    Args:
        flat: every column but the audio, the id first.
    """
    features: dict[str, Any] = {AUDIO: {"sampling_rate": SAMPLE_RATE, "_type": "Audio"}}
    features |= {name: {"dtype": t, "_type": "Value"} for name, t in flat.items()}
    # In the order of the table: the id first.
    ordered = {name: features[name] for name in ("id", AUDIO, *list(flat)[1:])}
    return json.dumps({"info": {"features": ordered}})


def find_columns(utterances: Iterable[Utterance]) -> Columns:
    """Decide the types of the utterances' further columns, but for those that are ours."""
    ours = {*OWN, *PLACE, AUDIO}
    types = column_types(utterances)
    return Columns({name: one for name, one in types.items() if name not in ours})


def column_types(utterances: Iterable[Utterance]) -> dict[str, ColumnType]:
    """Decide the types of all further columns; text where they are mixed or nested."""
    found: dict[str, set[str]] = {}
    for utterance in utterances:
        for name, value in utterance.extra.items():
            if value is not None:
                found.setdefault(name, set()).add(_type_of(value))
            else:
                found.setdefault(name, set())
    return {name: _common(types) for name, types in found.items()}


def _type_of(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int) and value in _INT64:
        return "int64"
    return {float: "float64", str: "string"}.get(type(value), "nested")


def _common(types: set[str]) -> ColumnType:
    if types == {"bool"}:
        return "bool"
    if types == {"int64"}:
        return "int64"
    if types and types <= {"int64", "float64"}:
        return "float64"
    return "string"


def fit(value: Any, wanted: ColumnType) -> Any:
    """Return a value of the manifest as its column's type."""
    if value is None:
        return None
    if wanted == "float64":
        return float(value)
    if wanted == "string" and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return value
