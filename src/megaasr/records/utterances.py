"""Utterances and the manifests that list them.

A manifest is a JSONL file with one `Utterance` per line. Unknown fields are kept, so that the
columns of a later step survive the tools of an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megaasr import strict_json
from megaasr.atomic import atomic_file
from megaasr.errors import RecordError
from megaasr.records.fields import OFFSET_FIELD, audio_of, language_of
from megaasr.records.jsonl import parse_objects


@dataclass(frozen=True, slots=True)
class Utterance:
    """A recording with its reference transcript.

    Attributes:
        id: identifier that is stable and unique in its manifest.
        audio: path relative to the manifest's folder, or the name of a segment of a recording there
            (`megaasr.audio.segments`).
        text: reference transcript as plain text; empty if nobody speaks.
        language: ISO code (`en`, `zh`, ...) or None if unknown.
        extra: all other columns (`speaker`, `duration_s`, `source`, ...).
    """

    id: str
    audio: str
    text: str
    language: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the flat record of a manifest's line."""
        return {
            "id": self.id,
            "audio": self.audio,
            "text": self.text,
            "language": self.language,
            **self.extra,
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Utterance:
        """Return the utterance of a flat record.

        Raises:
            RecordError: `id`, `audio` or `text` is missing or not a string, or `offset` or
                `duration` of a segment is not a time.
        """
        for name in ("id", "audio", "text"):
            if not isinstance(record.get(name), str):
                raise RecordError(f"the field {name!r} is missing or not a string")
        standard = {"id", "audio", "text", "language", OFFSET_FIELD}
        extra = {key: value for key, value in record.items() if key not in standard}
        return cls(
            id=record["id"],
            audio=audio_of(record) or "",
            text=record["text"],
            language=language_of(record),
            extra=extra,
        )


def read_manifest(path: str | Path) -> Iterator[Utterance]:
    """Yield the utterances of a JSONL manifest, in order.

    Raises:
        RecordError: a line is not an utterance; the message names file and line.
    """
    hint = "; a manifest has one JSON object per line, with id, audio and text"
    for number, record in parse_objects(Path(path), hint=hint):
        try:
            yield Utterance.from_dict(record)
        except RecordError as error:
            raise RecordError(f"{path}, line {number}: {error}") from error


def write_manifest(path: str | Path, utterances: Iterable[Utterance]) -> None:
    """Write a JSONL manifest atomically, one utterance a line."""
    with atomic_file(Path(path)) as lines:
        for utterance in utterances:
            line = strict_json.dumps(utterance.to_dict(), ensure_ascii=False) + "\n"
            lines.write(line.encode("utf-8"))
