"""The fields of a clip's record, under all the names that people give them.

One table of names for every command that reads clips or predictions. Of several names, the first
in the list that has a value counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from megaasr.audio.segments import segment_name
from megaasr.errors import RecordError
from megaasr.text.languages import canonical_language

NEMO_AUDIO_FIELD = "audio_filepath"
"""The field of NeMo's manifests, in which `duration` is the length that is read."""

AUDIO_FIELDS = (
    *("audio", "audio_path", NEMO_AUDIO_FIELD, "path", "file"),
    *("audio_file", "file_name", "wav_filename", "wav"),
)
TEXT_FIELDS = (
    *("answer", "text", "transcript", "sentence", "solution"),
    *("transcription", "reference", "ref"),
)
ID_FIELDS = ("id", "name", "index")
LANGUAGE_FIELDS = ("language", "lang", "locale")
PREDICTION_FIELDS = (
    *("prediction", "pred_text", "hypothesis", "text_pred", "pred"),
    *("predicted_text", "prediction_text", "hyp", "hyp_text"),
)
OFFSET_FIELD = "offset"
DURATION_FIELDS = ("duration_s", "duration")


@dataclass(frozen=True, slots=True)
class ClipFields:
    """What a record says about its clip.

    Attributes:
        id: the clip's id, or else the name of its audio.
        audio: path of the audio, or the name of a segment of it (`audio.segments`).
        text: the reference transcript; empty if nobody speaks.
        language: canonical code of the language; None if the record does not say.
        duration_s: length in seconds; None if the record does not say.
    """

    id: str
    audio: str
    text: str
    language: str | None
    duration_s: float | None


def clip_fields(record: Mapping[str, Any]) -> ClipFields:
    """Return the fields of a clip with a reference.

    Raises:
        RecordError: the audio or the reference is missing, or a field has no value of its kind.
    """
    audio = audio_of(record)
    if audio is None:
        raise RecordError(
            f"no audio: one of {', '.join(AUDIO_FIELDS)} must be a path{_fields(record)}"
        )
    text = text_of(record, TEXT_FIELDS)
    if text is None:
        raise RecordError(
            f"no reference: one of {', '.join(TEXT_FIELDS)} must be there{_fields(record)}"
        )
    return ClipFields(
        id=names_of(record)[0],
        audio=audio,
        text=text,
        language=language_of(record),
        duration_s=number_of(record, *DURATION_FIELDS),
    )


def audio_of(record: Mapping[str, Any]) -> str | None:
    """Return the path of a record's audio, or the name of the segment that it states.

    A record with `offset` is a segment, which lasts for its `duration` or to the recording's end.
    Without `offset`, the `duration` of a NeMo manifest is the length that is read.

    Raises:
        RecordError: a value is not a path or not a time.
    """
    name, audio = _recording(record)
    if audio is None:
        return None
    offset_s = number_of(record, OFFSET_FIELD)
    if offset_s is None and name != NEMO_AUDIO_FIELD:
        return audio
    duration_s = number_of(record, *DURATION_FIELDS)
    if offset_s is None and not duration_s:
        return audio
    if duration_s == 0.0:
        raise RecordError("duration is 0; leave it out for the rest of the recording")
    return segment_name(audio, offset_s, duration_s)


def names_of(record: Mapping[str, Any]) -> list[str]:
    """Return all names that a record gives its clip, its id first.

    A segment is not called by its recording, which has other segments too.

    Raises:
        RecordError: a name is not a string or a number.
    """
    names = [record[field] for field in ID_FIELDS if record.get(field) not in (None, "")]
    for name in names:
        if not isinstance(name, str | int | float) or isinstance(name, bool):
            raise RecordError(f"the id is {_shown(name)}, not a string or a number")
    audios = [audio_of(record)]
    if number_of(record, OFFSET_FIELD) is None:
        audios = [_recording(record)[1]]
    return [*map(str, names), *(audio for audio in audios if audio is not None)]


def text_of(record: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """Return the text under the first of several names that has a value; None if none has.

    Raises:
        RecordError: the value is not a string.
    """
    name = next((name for name in names if record.get(name) is not None), None)
    if name is None:
        return None
    if not isinstance(record[name], str):
        raise RecordError(f"{name} is {_shown(record[name])}, not a string; write it in quotes")
    text: str = record[name]
    return text


def prediction_of(record: Mapping[str, Any]) -> str | None:
    """Return the prediction in a record; None if it has none.

    Raises:
        RecordError: a prediction is not a string, or there are two that differ.
    """
    texts = {
        name: text_of(record, [name]) for name in PREDICTION_FIELDS if record.get(name) is not None
    }
    if len(set(texts.values())) > 1:
        raise RecordError(f"{' and '.join(texts)} differ; keep one of them as the prediction")
    return next(iter(texts.values()), None)


def language_of(record: Mapping[str, Any]) -> str | None:
    """Return the canonical code of the language that a record states; None if it states none.

    Raises:
        RecordError: the language is not a string.
    """
    for name in LANGUAGE_FIELDS:
        value = record.get(name)
        if value is not None and not isinstance(value, str):
            raise RecordError(f"{name} is {_shown(value)}, not the name of a language")
        if code := canonical_language(value):
            return code
    return None


def number_of(record: Mapping[str, Any], *names: str) -> float | None:
    """Return the number under the first of several names that has a value; None if none has.

    Raises:
        RecordError: the value is not a finite number of at least 0.
    """
    name = next((name for name in names if record.get(name) not in (None, "")), None)
    if name is None:
        return None
    value = record[name]
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise RecordError(f"{name} is {_shown(value)}, not a number of at least 0")
    return number


def _recording(record: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the name of the field with the audio, and the audio; None if there is none."""
    name = next((name for name in AUDIO_FIELDS if record.get(name) not in (None, "")), "")
    audio = record.get(name)
    if audio is not None and (not isinstance(audio, str) or "\0" in audio):
        raise RecordError(f"{name} is {_shown(audio)}, not a path")
    return name, audio


def _fields(record: Mapping[str, Any]) -> str:
    names = ", ".join(list(map(str, record))[:8])
    return f" (the record has {names or 'no fields'})"


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"
