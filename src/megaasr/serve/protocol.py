"""The shapes of OpenAI's answers, with our additional keys.

Facts: the types of OpenAI's Python client, version 3.57. A client keeps keys that it does not know.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Shape(BaseModel):
    """Base of all shapes."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON values, without keys that have none."""
        return self.model_dump(mode="json", exclude_none=True)


class ErrorDetail(Shape):
    """What is wrong with a request."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(Shape):
    """The body of every answer with a status from 400 on."""

    error: ErrorDetail


class DurationUsage(Shape):
    """What a request is counted as: seconds of audio."""

    type: Literal["duration"] = "duration"
    seconds: float


class LanguageCode(Shape):
    """A language by its ISO code."""

    code: str


class WordLogprob(Shape):
    """The logarithm of a word's confidence, in the place of OpenAI's tokens."""

    token: str
    bytes: list[int]
    logprob: float


class TimedWord(Shape):
    """A word of verbose_json; `confidence` is ours."""

    word: str
    start: float
    end: float
    confidence: float | None = None


class VerboseSegment(Shape):
    """A segment of verbose_json; the keys from `language` on are ours (docs/transcripts.md)."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    language: str | None = None
    channel: str | None = None
    route: str | None = None
    degraded_probability: float | None = None
    route_reason: str | None = None
    speech_probability: float | None = None
    confidence: float | None = None
    flags: list[str] = []
    checks: list[dict[str, Any]] = []
    attempts: list[dict[str, Any]] = []
    alternatives: list[dict[str, Any]] = []
    word_alternatives: list[dict[str, Any]] = []
    unintelligible: list[dict[str, Any]] = []
    word_times: str | None = None


class TranscriptionJson(Shape):
    """The format json; the keys from `language` on are ours."""

    text: str
    languages: list[LanguageCode]
    logprobs: list[WordLogprob] | None = None
    usage: DurationUsage
    language: str | None = None
    duration: float
    model: str
    confidence: float | None = None
    flags: list[str] = []
    notes: list[str] = []
    reason: str | None = None


class TranscriptionVerboseJson(Shape):
    """The format verbose_json; the keys from `languages` on are ours."""

    task: Literal["transcribe"] = "transcribe"
    language: str
    duration: float
    text: str
    segments: list[VerboseSegment] | None = None
    words: list[TimedWord] | None = None
    usage: DurationUsage
    languages: list[LanguageCode]
    logprobs: list[WordLogprob] | None = None
    model: str
    notes: list[str] = []
    reason: str | None = None


class DiarizedSegment(Shape):
    """A segment of diarized_json; the speaker is the name of the channel."""

    type: Literal["transcript.text.segment"] = "transcript.text.segment"
    id: str
    start: float
    end: float
    speaker: str
    text: str
    route: str | None = None
    confidence: float | None = None
    flags: list[str] = []


class TranscriptionDiarizedJson(Shape):
    """The format diarized_json."""

    task: Literal["transcribe"] = "transcribe"
    duration: float
    text: str
    segments: list[DiarizedSegment]
    usage: DurationUsage
    model: str
    notes: list[str] = []


class TextDelta(Shape):
    """The event of a segment that has become final: text that is never taken back."""

    type: Literal["transcript.text.delta"] = "transcript.text.delta"
    delta: str
    logprobs: list[WordLogprob] | None = None
    start: float
    end: float
    language: str | None = None
    route: str | None = None
    confidence: float | None = None
    flags: list[str] = []


class TextDone(Shape):
    """The last event of a stream: the whole text."""

    type: Literal["transcript.text.done"] = "transcript.text.done"
    text: str
    languages: list[LanguageCode]
    logprobs: list[WordLogprob] | None = None
    duration: float
    notes: list[str] = []
    reason: str | None = None


class JobProgress(Shape):
    """How far a job is: seconds of the recording; the duration may be unknown."""

    done_s: float
    duration_s: float | None = None


class JobObject(Shape):
    """A job; times are seconds since 1970."""

    id: str
    object: Literal["transcription.job"] = "transcription.job"
    status: Literal["queued", "running", "completed", "failed", "cancelled"]
    name: str
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    expires_at: float | None = None
    progress: JobProgress
    error: dict[str, Any] | None = None


class JobList(Shape):
    """The jobs of a client."""

    object: Literal["list"] = "list"
    data: list[JobObject]


class JobDeleted(Shape):
    """The answer to the deletion of a job."""

    id: str
    object: Literal["transcription.job"] = "transcription.job"
    deleted: bool = True


class ModelCard(Shape):
    """A model of `/v1/models`; the keys from `alias_of` on are ours."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    alias_of: str | None = None
    languages: list[str] | None = None
    has_robust_route: bool | None = None


class ModelList(Shape):
    """The answer of `/v1/models`."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
