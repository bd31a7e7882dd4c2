"""The events of OpenAI's realtime transcription: what clients may send, and what is sent to them.

Facts: the types of OpenAI's Python client, version 3.57.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from megaasr.errors import UsageError
from megaasr.model.prompt import language_name
from megaasr.serve.error_responses import RequestError
from megaasr.serve.transcription_form import check_context, refuse_misspelt
from megaasr.text.languages import canonical_language

PCM_RATES = (8000, 16000, 24000, 48000)
"""Sample rates of PCM in Hz."""
G711_RATE = 8000
"""Sample rate of G.711 in Hz."""
LOGPROBS = "item.input_audio_transcription.logprobs"
"""OpenAI's name of what `include` may ask for."""
MAX_FRAME_BYTES = 15 * 2**20
"""Largest audio of one event, as at OpenAI."""
MAX_EVENT_BYTES = MAX_FRAME_BYTES * 4 // 3 + 2**20
"""Largest event of a client: such a frame in base64, and what is around it."""


class _Lenient(BaseModel):
    """Clients send settings of conversations, too, which mean nothing here."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class AudioFormat(_Lenient):
    """How samples are encoded: 16-bit little-endian PCM, or G.711 with µ-law or A-law."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: int | None = None

    @property
    def sample_rate(self) -> int:
        """Samples per second."""
        return (self.rate or 24000) if self.type == "audio/pcm" else G711_RATE

    def check(self) -> None:
        """Check the rate.

        Raises:
            RequestError: the rate is not possible.
        """
        rates = PCM_RATES if self.type == "audio/pcm" else (G711_RATE,)
        if self.rate is not None and self.rate not in rates:
            raise RequestError(
                400,
                f"{self.type} of {self.rate} Hz is not possible; use " + ", ".join(map(str, rates)),
                param="session.audio.input.format",
                code="invalid_value",
            )

    def decode(self, audio: str) -> NDArray[np.int16]:
        """Return the samples of a frame, int16 of shape [time].

        Args:
            audio: the frame, in base64.

        Raises:
            RequestError: it is not base64, too long, or half a sample is missing.
        """
        if len(audio) > MAX_FRAME_BYTES * 4 / 3:
            raise _invalid_audio(f"more than {MAX_FRAME_BYTES} bytes; send shorter frames")
        try:
            data = base64.b64decode(audio, validate=True)
        except (binascii.Error, ValueError) as error:
            raise _invalid_audio(f"not base64: {error}") from error
        if self.type == "audio/pcm":
            if len(data) % 2:
                raise _invalid_audio("an odd number of bytes; samples of PCM have two each")
            return np.frombuffer(data, dtype="<i2").astype(np.int16)
        table = _MU_LAW if self.type == "audio/pcmu" else _A_LAW
        samples: NDArray[np.int16] = table[np.frombuffer(data, dtype=np.uint8)]
        return samples


class TurnDetection(_Lenient):
    """How the end of an utterance is found."""

    type: Literal["server_vad", "semantic_vad"] = "server_vad"
    threshold: float = Field(default=0.5, ge=0, le=1)
    silence_duration_ms: int = Field(default=500, ge=0, le=60_000)


class Transcription(_Lenient):
    """What the model is told about the speech."""

    model: str | None = None
    language: str | None = None
    languages: tuple[str, ...] | None = None
    prompt: str | None = None
    keywords: tuple[str, ...] | None = None

    @property
    def forced_language(self) -> str | None:
        """The language that the model is told, by the name that the client gave it."""
        if self.language or len(self.languages or ()) != 1:
            return self.language
        return (self.languages or ())[0]

    def check(self) -> None:
        """Check the length of the texts, and the language.

        Raises:
            RequestError: they are too long, or the model does not know the language.
        """
        param = "session.audio.input.transcription"
        check_context(self.prompt or "", self.keywords or (), param=param)
        if canonical_language(self.forced_language) is not None:
            try:
                language_name(self.forced_language or "")
            except UsageError as error:
                raise RequestError(
                    400, str(error), param=f"{param}.language", code="invalid_value"
                ) from error


class AudioInput(_Lenient):
    """Settings of the incoming audio; fields that are not sent keep their values."""

    format: AudioFormat = AudioFormat()
    transcription: Transcription = Transcription()
    turn_detection: TurnDetection | None = TurnDetection()


class SessionAudio(_Lenient):
    """Settings of the audio."""

    input: AudioInput = AudioInput()


class SessionSettings(_Lenient):
    """Settings of a session; `partials` (unfinished text) and `route` are ours."""

    type: Literal["transcription"] = "transcription"
    audio: SessionAudio = SessionAudio()
    include: tuple[str, ...] | None = None
    partials: bool = True
    route: Literal["auto", "base", "robust"] | None = None

    @property
    def is_manual(self) -> bool:
        """Whether the client ends the turns."""
        return self.audio.input.turn_detection is None

    @property
    def has_partials(self) -> bool:
        """Whether unfinished text is sent."""
        return self.partials and not self.is_manual

    @property
    def has_logprobs(self) -> bool:
        """Whether the logarithms of the words' confidences are sent."""
        return LOGPROBS in (self.include or ())

    def decodes_as(self, other: SessionSettings) -> bool:
        """Return whether a live session that was opened with other settings can go on."""
        return (self.audio, self.route) == (other.audio, other.route)


class SessionUpdate(_Lenient):
    """Changes settings."""

    type: Literal["session.update"]
    session: dict[str, Any]


class BufferAppend(_Lenient):
    """Adds audio; `sequence` is ours: the number of the frame, from 1 on."""

    type: Literal["input_audio_buffer.append"]
    audio: str
    sequence: int | None = Field(default=None, ge=1)


class BufferCommit(_Lenient):
    """Ends an utterance."""

    type: Literal["input_audio_buffer.commit"]


class BufferClear(_Lenient):
    """Drops the audio of the utterance so far."""

    type: Literal["input_audio_buffer.clear"]


ClientEvent = SessionUpdate | BufferAppend | BufferCommit | BufferClear
"""What a client may send."""
_CLIENT_EVENT: TypeAdapter[ClientEvent] = TypeAdapter(
    Annotated[ClientEvent, Field(discriminator="type")]
)


def parse_client_event(text: str) -> ClientEvent:
    """Return an event that a client sent.

    Raises:
        RequestError: it is not valid.
    """
    try:
        return _CLIENT_EVENT.validate_json(text)
    except ValidationError as error:
        raise _invalid_event(error, "") from error


def updated(settings: SessionSettings, changes: dict[str, Any]) -> SessionSettings:
    """Return settings with the changes of a `session.update`.

    Raises:
        RequestError: a value is not possible.
    """
    try:
        result = SessionSettings.model_validate(_merged(settings.model_dump(), changes))
    except ValidationError as error:
        raise _invalid_event(error, "session.") from error
    result.audio.input.format.check()
    result.audio.input.transcription.check()
    return result


def unused_fields(changes: dict[str, Any]) -> list[str]:
    """Return the names of fields of a `session.update` that have no effect, such as `audio.output`.

    A name that resembles a known one is taken for a mistake. Others are settings of conversations,
    or of other servers.

    Raises:
        RequestError: a name is probably misspelt.
    """
    return list(_unused_fields(changes, SessionSettings, ""))


def _unused_fields(changes: dict[str, Any], shape: type[BaseModel], prefix: str) -> Iterator[str]:
    for key, change in changes.items():
        field = shape.model_fields.get(key)
        if field is None:
            refuse_misspelt(key, shape, param=f"session.{prefix}{key}")
            yield prefix + key
        elif isinstance(change, dict):
            yield from _unused_fields(change, _nested(field.annotation), f"{prefix}{key}.")
        elif (change is None and key == "transcription") or (
            key == "include" and set(change or ()) - {LOGPROBS}
        ):
            yield prefix + key


def _nested(annotation: Any) -> type[BaseModel]:
    """Return the model of a field's values, which may be None."""
    kinds = (annotation, *get_args(annotation))
    return next(k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel))


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, change in changes.items():
        if key == "transcription" and change is None:
            continue  # of a conversation; this session has nothing else to do
        old = merged.get(key)
        nested = isinstance(old, dict) and isinstance(change, dict) and key != "format"
        merged[key] = _merged(old, change) if nested else change  # type: ignore[arg-type]
    return merged


def _invalid_event(error: ValidationError, prefix: str) -> RequestError:
    first = error.errors()[0]
    name = prefix + ".".join(str(part) for part in first["loc"])
    return RequestError(
        400, f"{name or 'the event'}: {first['msg']}", param=name or None, code="invalid_event"
    )


def _invalid_audio(reason: str) -> RequestError:
    return RequestError(400, f"the audio is {reason}", param="audio", code="invalid_audio")


def _mu_law() -> NDArray[np.int16]:
    """Return the sample of every byte of µ-law (ITU-T G.711)."""
    byte = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = ((((byte & 0x0F) << 3) + 0x84) << ((byte >> 4) & 7)) - 0x84
    return np.where(byte & 0x80, -magnitude, magnitude).astype(np.int16)


def _a_law() -> NDArray[np.int16]:
    """Return the sample of every byte of A-law (ITU-T G.711)."""
    byte = np.arange(256, dtype=np.int32) ^ 0x55
    exponent = (byte >> 4) & 7
    magnitude = ((byte & 0x0F) << 4) + np.where(exponent, 0x108, 8)
    magnitude <<= np.maximum(exponent - 1, 0)
    return np.where(byte & 0x80, magnitude, -magnitude).astype(np.int16)


_MU_LAW = _mu_law()
_A_LAW = _a_law()
