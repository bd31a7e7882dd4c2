"""The columns of a data set: its own, and those inherited from the utterances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from megaasr import strict_json
from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.records import Utterance

ColumnType = Literal["string", "int64", "float64", "bool"]
_INT64 = range(-(2**63), 2**63)

OWN_COLUMNS: dict[str, ColumnType] = {
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
"""Columns of every data set besides `audio`; they replace columns of the same name in manifests."""

AUDIO = "audio"
"""Name of the audio column."""

# Location of a clip: in the manifest of a data set, but not in its shards.
_LOCATION = ("shard", "row")


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a data set, in order.

    Attributes:
        inherited: types of the columns inherited from the utterances, by name.
    """

    inherited: Mapping[str, ColumnType]

    @property
    def types(self) -> dict[str, ColumnType]:
        """Types of all columns except the audio, by name."""
        return {**OWN_COLUMNS, **self.inherited}

    def inherit(self, utterance: Utterance) -> dict[str, Any]:
        """Return an utterance's values of the inherited columns; missing values are None."""
        return {
            name: convert(utterance.extra.get(name), column_type)
            for name, column_type in self.inherited.items()
        }


def features_json(types: Mapping[str, ColumnType]) -> str:
    """Return the metadata that makes Hugging Face's `datasets` decode the audio column.

    Args:
        types: types of all columns except the audio, by name; the id comes first.
    """
    features: dict[str, Any] = {AUDIO: {"sampling_rate": SAMPLE_RATE, "_type": "Audio"}}
    features |= {name: {"dtype": t, "_type": "Value"} for name, t in types.items()}
    # In the order of the table: the id comes before the audio.
    ordered = {name: features[name] for name in ("id", AUDIO, *list(types)[1:])}
    return strict_json.dumps({"info": {"features": ordered}})


def find_columns(utterances: Iterable[Utterance]) -> Columns:
    """Return the columns of a data set made from these utterances."""
    own = {*OWN_COLUMNS, *_LOCATION, AUDIO}
    types = column_types(utterances)
    return Columns({name: type_ for name, type_ in types.items() if name not in own})


def column_types(utterances: Iterable[Utterance]) -> dict[str, ColumnType]:
    """Infer the types of the extra columns of utterances; mixed or nested values are strings."""
    types_by_name: dict[str, set[str]] = {}
    for utterance in utterances:
        for name, value in utterance.extra.items():
            types = types_by_name.setdefault(name, set())
            if value is not None:
                types.add(_type_of(value))
    return {name: _common(types) for name, types in types_by_name.items()}


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


def convert(value: Any, column_type: ColumnType) -> Any:
    """Convert a value of a manifest to the type of its column; None stays None."""
    if value is None:
        return None
    if column_type == "float64":
        return float(value)
    if column_type == "string" and not isinstance(value, str):
        return strict_json.dumps(value, ensure_ascii=False)
    return value
