"""The records that flow between the steps: utterances in manifests, transcripts out.

Manifests are JSONL, one `Utterance` a line; unknown fields are kept, so that a later step's
columns survive an earlier step's tool. Transcripts are versioned JSON (see `Transcript`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from megaasr.atomic import atomic_file
from megaasr.errors import RecordError

TRANSCRIPT_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording with what was said in it.

    Attributes:
        id: stable and unique in its manifest.
        audio: path relative to the manifest's folder.
        text: the plain transcript; empty when nobody speaks.
        language: ISO code (`en`, `zh`, ...) or None if unknown.
        extra: every other column (`speaker`, `duration_s`, `source`, ...).
    """

    id: str
    audio: str
    text: str
    language: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the flat record as it stands in a manifest."""
        return {
            "id": self.id,
            "audio": self.audio,
            "text": self.text,
            "language": self.language,
            **self.extra,
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Utterance:
        """Read a flat record.

        Raises:
            RecordError: if `id`, `audio` or `text` is missing or not a string.
        """
        for name in ("id", "audio", "text"):
            if not isinstance(record.get(name), str):
                raise RecordError(f"the field {name!r} is missing or not a string")
        known = {"id", "audio", "text", "language"}
        extra = {key: value for key, value in record.items() if key not in known}
        return cls(record["id"], record["audio"], record["text"], record.get("language"), extra)


def read_manifest(path: str | Path) -> Iterator[Utterance]:
    """Yield the utterances of a JSONL manifest, in order.

    Raises:
        RecordError: naming file and line, on the first line that is no utterance.
    """
    # Decoded line by line, so that a byte that is not UTF-8 is blamed on its own line.
    with Path(path).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line.decode("utf-8"))
                if not isinstance(record, dict):
                    raise RecordError("the line is not a JSON object")
                yield Utterance.from_json(record)
            except (json.JSONDecodeError, UnicodeDecodeError, RecordError) as error:
                raise RecordError(f"{path}, line {number}: {error}") from error


def write_manifest(path: str | Path, utterances: Iterable[Utterance]) -> None:
    """Write a JSONL manifest atomically, one utterance a line."""
    with atomic_file(Path(path)) as lines:
        for utterance in utterances:
            line = json.dumps(utterance.to_json(), ensure_ascii=False) + "\n"
            lines.write(line.encode("utf-8"))


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a segment.

    Attributes:
        text: with the punctuation that touches it.
        start, end: seconds from the start of the recording. Interpolated: each word has the share
            of the segment's speech that it has of its characters.
        confidence: 0..1, that it is what was said; None if it is not known.
    """

    text: str
    start: float
    end: float
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A sign that a text is not what was said, see `megaasr.transcribe.checks`.

    Attributes:
        flag: its name.
        value: what was measured.
        threshold: what it was compared with.
    """

    flag: str
    value: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """One time that a piece was heard.

    Attributes:
        route: `base` or `robust`.
        temperature: 0 for the likeliest tokens.
        pieces: 2 if it was heard in halves.
        text: what was said.
        mean_logprob: of its tokens; None if it is not known.
        failed: flags of the checks that it failed.
    """

    route: str
    temperature: float
    pieces: int
    text: str = ""
    mean_logprob: float | None = None
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a recording and the words in it.

    Attributes:
        start, end: seconds from the start of the recording.
        text: what was said; empty when nothing was.
        language: ISO code, or None when the model heard no speech.
        flags: what a reader should know, e.g. `token_budget_hit`, `no_speech`.
        route: the branch that heard it, `base` or `robust`; None where no model was asked.
        degraded_probability: 0..1, of the router; None where it was not asked.
        route_reason: why this branch, in a few words.
        confidence: 0..1, expected share of its words that are right; None if it is not known.
        mean_logprob: of the tokens; None if it is not known.
        words: with times and confidence; empty if the model gives no probabilities.
        checks: what is suspicious about the text that was kept.
        attempts: every time that it was heard, if it was heard more than once.
    """

    start: float
    end: float
    text: str
    language: str | None = None
    flags: tuple[str, ...] = ()
    route: str | None = None
    degraded_probability: float | None = None
    route_reason: str | None = None
    confidence: float | None = None
    mean_logprob: float | None = None
    words: tuple[Word, ...] = ()
    checks: tuple[Check, ...] = ()
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True)
class Transcript:
    """The words of one recording.

    Attributes:
        text: all segments' text, joined.
        language: the language most of the speech is in, or None when there is none.
        duration_s: length of the recording in seconds.
        model: the name the model was asked for by.
        segments: in order of time, not overlapping.
        reason: why `text` is empty, when it is; else None.
        audio: the recording's path as given, if it came from a file.
    """

    text: str
    language: str | None
    duration_s: float
    model: str
    segments: tuple[Segment, ...] = ()
    reason: str | None = None
    audio: str | None = None

    @property
    def flags(self) -> tuple[str, ...]:
        """Every flag of any segment, once each, in order of appearance."""
        return tuple(dict.fromkeys(flag for segment in self.segments for flag in segment.flags))

    def with_audio(self, audio: str) -> Transcript:
        """Return a copy that names the file it came from."""
        return replace(self, audio=audio)

    def to_json(self) -> dict[str, Any]:
        """Return the versioned document that `mega-asr transcribe -f json` writes."""
        segments = [_lists(asdict(segment)) for segment in self.segments]
        return {
            "schema": TRANSCRIPT_SCHEMA,
            "audio": self.audio,
            "text": self.text,
            "language": self.language,
            "duration_s": self.duration_s,
            "model": self.model,
            "reason": self.reason,
            "word_times": "interpolated",
            "segments": segments,
        }


def _lists(value: Any) -> Any:
    """Return a JSON document with lists in the place of tuples, as it is read again."""
    if isinstance(value, dict):
        return {key: _lists(one) for key, one in value.items()}
    return [_lists(one) for one in value] if isinstance(value, list | tuple) else value
