"""The fields of a request for a transcription: OpenAI's, and ours beside them."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator

from megaasr.audio.selection import EVERYTHING, ChannelChoice, Selection
from megaasr.config import Recipe
from megaasr.errors import UsageError
from megaasr.records.marking import Marking
from megaasr.records.subtitles import DEFAULT_LAYOUT, SubtitleLayout
from megaasr.route.decision import RouteChoice
from megaasr.serve.error_responses import RequestError
from megaasr.text.languages import canonical_language
from megaasr.transcribe.checks import CheckThresholds
from megaasr.transcribe.options import DEFAULT_RELIABILITY, ReliabilityOptions
from megaasr.transcribe.search import GREEDY, SearchMethod, SearchOptions, Utility

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"]
"""OpenAI's names of the formats of a transcription."""
Granularity = Literal["word", "segment"]
"""What verbose_json gives times for."""

_KEY = re.compile(r"(?P<name>\w+)\[(?P<inner>\w*)\]")
_CHANNELS = re.compile(r"mix|left|right|each|[1-9][0-9]?")
_MAX_CONTEXT = 10_000
"""Most characters of prompt and keywords together."""


def check_context(prompt: str, keywords: Sequence[str], *, param: str) -> None:
    """Check the length of what biases the model.

    Args:
        prompt, keywords: the texts.
        param: name of their field, for the error.

    Raises:
        RequestError: 400, they are too long.
    """
    if len(prompt) + sum(map(len, keywords)) > _MAX_CONTEXT:
        message = f"prompt and keywords have more than {_MAX_CONTEXT} characters"
        raise RequestError(400, message, param=param, code="invalid_value")


def _words(value: object) -> object:
    """Return entries of a list that may be separated by commas."""
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list | tuple):
        return value
    return [part.strip() for entry in entries for part in str(entry).split(",") if part.strip()]


class ServerVad(Recipe):
    """OpenAI's parameters of voice-activity detection, which files do not need here."""

    type: Literal["server_vad"]
    prefix_padding_ms: int = Field(300, ge=0)
    silence_duration_ms: int = Field(200, ge=0)
    threshold: float = Field(0.5, ge=0, le=1)


class TranscriptionForm(Recipe):
    """The fields of a request for a transcription, but for the recording itself."""

    model: str | None = Field(None, description="Name of the served model, or an alias of it.")
    language: str | None = Field(
        None, description="Language to force, a code or a name; detected if it is left out."
    )
    languages: tuple[str, ...] = Field(
        (), description="Languages to expect; a single one is forced, several do not restrict."
    )
    prompt: str = Field("", description="Names, terms or preceding text that bias the model.")
    keywords: tuple[str, ...] = Field((), description="Terms that are added to the prompt.")
    response_format: ResponseFormat = Field("json", description="Format of the answer.")
    temperature: float = Field(
        0.0, ge=0, le=1, description="Temperature of the samples; above 0 only with decode."
    )
    timestamp_granularities: Annotated[tuple[Granularity, ...], BeforeValidator(_words)] = Field(
        (), description="What verbose_json gives times for; segment if it is left out."
    )
    include: Annotated[tuple[Literal["logprobs"], ...], BeforeValidator(_words)] = Field(
        (), description="logprobs: the logarithm of each word's confidence."
    )
    stream: bool = Field(False, description="Send segments as they become final (SSE).")
    chunking_strategy: Literal["auto"] | ServerVad = Field(
        "auto", description="Accepted; recordings are always divided by voice activity."
    )
    known_speaker_names: tuple[str, ...] = Field((), description="Not supported.")
    known_speaker_references: tuple[str, ...] = Field((), description="Not supported.")

    route: RouteChoice | None = Field(None, description="auto, base, robust or both.")
    threshold: float | None = Field(
        None, ge=0, le=1, description="P(degraded) from which the robust branch is used."
    )
    decode: SearchMethod = Field("greedy", description="greedy, best, consensus or auto.")
    samples: int = Field(GREEDY.samples, ge=1, description="Samples of a chunk for decode.")
    utility: Utility = Field(GREEDY.utility, description="What the consensus maximises.")
    alternatives: int = Field(0, ge=0, description="Alternative texts of each segment.")
    channels: str = Field("mix", description="mix, left, right, a number, or each.")
    track: int | None = Field(None, ge=1, description="Number of the audio track.")
    unintelligible: Marking = Field(
        "keep", description="Words that cannot be made out: keep, mark or drop."
    )
    drop_unreliable: bool = Field(False, description="Remove text that stays unreliable.")
    retry: bool = Field(True, description="Decode unreliable chunks again.")
    guard: tuple[str, ...] = Field((), description="NAME=VALUE, the threshold of a check.")
    max_line_width: int = Field(DEFAULT_LAYOUT.columns, ge=4, le=1000)
    max_line_count: int = Field(DEFAULT_LAYOUT.lines, ge=1, le=100)
    highlight_words: bool = Field(False, description="Underline words in srt and vtt.")

    @field_validator("channels")
    @classmethod
    def _is_channel(cls, channels: str) -> str:
        if not _CHANNELS.fullmatch(channels):
            raise ValueError("it can be mix, left, right, each, or the number of a channel")
        return channels

    def request(self, max_samples: int) -> TranscriptionRequest:
        """Return what the form asks for.

        Args:
            max_samples: most samples of a chunk.

        Raises:
            RequestError: 400, fields contradict each other or ask for what does not exist here.
            UsageError: a value cannot be used.
        """
        self._check(max_samples)
        method = self.decode
        search = SearchOptions(
            method,
            self.samples,
            self.temperature or GREEDY.temperature,
            self.utility,
            self.alternatives,
        )
        each = self.channels == "each" or self.response_format == "diarized_json"
        return TranscriptionRequest(
            language=canonical_language(self._forced_language()),
            context=", ".join(filter(None, (self.prompt, *self.keywords))),
            route=self.route,
            threshold=self.threshold,
            search=search,
            reliability=ReliabilityOptions(
                thresholds=CheckThresholds().changed(self.guard),
                retry=self.retry,
                drop_unreliable=self.drop_unreliable,
            ),
            selection=Selection(self.track, "mix" if each else _channel(self.channels)),
            each_channel=each,
        )

    def output(self) -> OutputOptions:
        """Return how the answer looks."""
        return OutputOptions(
            self.response_format,
            self.timestamp_granularities or ("segment",),
            logprobs="logprobs" in self.include,
            marking=self.unintelligible,
            layout=SubtitleLayout(self.max_line_width, self.max_line_count, self.highlight_words),
        )

    def _forced_language(self) -> str | None:
        if self.language or len(self.languages) != 1:
            return self.language
        return self.languages[0]

    def _check(self, max_samples: int) -> None:
        faults = (
            (
                self.known_speaker_names or self.known_speaker_references,
                "known_speaker_names",
                "speakers are told apart by channel only; leave the known speakers out",
            ),
            (
                self.temperature and self.decode == "greedy",
                "temperature",
                "texts are decoded greedily; leave temperature out, or add decode=consensus to "
                "choose among samples of this temperature",
            ),
            (
                self.samples > max_samples,
                "samples",
                f"samples is {self.samples}; this server allows {max_samples}",
            ),
            (
                self.timestamp_granularities and self.response_format != "verbose_json",
                "timestamp_granularities",
                "timestamp_granularities needs response_format=verbose_json",
            ),
            (
                self.include and self.response_format not in ("json", "verbose_json"),
                "include",
                "logprobs need response_format=json or verbose_json",
            ),
            (
                self.channels == "each" and self.response_format in ("text", "srt", "vtt"),
                "channels",
                f"{self.response_format} has no place for the names of channels; use "
                "diarized_json, verbose_json or json",
            ),
            (
                self.stream and self.response_format in ("srt", "vtt", "verbose_json"),
                "stream",
                f"{self.response_format} cannot be streamed; use json, text or diarized_json",
            ),
        )
        for wrong, param, message in faults:
            if wrong:
                raise RequestError(400, message, param=param, code="invalid_value")
        check_context(self.prompt, self.keywords, param="prompt")


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """What a request asks the recognizer for.

    Attributes:
        language: ISO code to force; None lets the model identify it.
        context: free text that biases the model.
        route: branch selection; None for the server's.
        threshold: probability of degraded audio, 0..1, from which the robust branch is used; None
            for the server's.
        search: how the text of a chunk is searched.
        reliability: quality checks and their consequences.
        selection: audio track and channels.
        each_channel: transcribe each channel for itself.
    """

    language: str | None = None
    context: str = ""
    route: RouteChoice | None = None
    threshold: float | None = None
    search: SearchOptions = GREEDY
    reliability: ReliabilityOptions = DEFAULT_RELIABILITY
    selection: Selection = EVERYTHING
    each_channel: bool = False


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How the answer to a request looks.

    Attributes:
        response_format: its format.
        granularities: what verbose_json gives times for.
        logprobs: list the logarithm of each word's confidence.
        marking: what is displayed in place of unintelligible words.
        layout: how subtitles look.
    """

    response_format: ResponseFormat = "json"
    granularities: tuple[Granularity, ...] = ("segment",)
    logprobs: bool = False
    marking: Marking = "keep"
    layout: SubtitleLayout = DEFAULT_LAYOUT


def parse_form(fields: Iterable[tuple[str, str]]) -> tuple[TranscriptionForm, tuple[str, ...]]:
    """Return the form that multipart fields make, and the names of those that are not known.

    A name that resembles a known one is taken for a mistake. Others are ignored, since clients of
    other servers send fields of their own.

    Args:
        fields: names and values in the order in which they were sent. Lists are repeated names,
            with or without `[]`; an object's entries are called `name[entry]`.

    Raises:
        RequestError: 400, a value is not valid, or a name is probably misspelt.
    """
    values: dict[str, Any] = {}
    ignored: dict[str, None] = {}
    for key, value in fields:
        match = _KEY.fullmatch(key)
        name, inner = (match["name"], match["inner"]) if match else (key, "")
        if name not in TranscriptionForm.model_fields:
            refuse_misspelt(name, TranscriptionForm, param=name)
            ignored[name] = None
        elif inner:
            entries = values.setdefault(name, {})
            if not isinstance(entries, dict):
                raise RequestError(400, f"{name} is a value and an object at once", param=name)
            entries[inner] = value
        elif _is_list(name):
            values.setdefault(name, []).append(value)
        elif name in values:
            raise RequestError(400, f"{name} was sent twice; send it once", param=name)
        elif value:
            values[name] = _object(value) if name == "chunking_strategy" else value
    try:
        return TranscriptionForm.model_validate(values), tuple(ignored)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        message = f"{name} is {_shown(first.get('input'))}: {first['msg']}"
        raise RequestError(400, message, param=name, code="invalid_value") from error


def refuse_misspelt(name: str, shape: type[BaseModel], *, param: str) -> None:
    """Refuse a field that is not known if its name resembles a known one.

    Args:
        name: its name.
        shape: the model with the known fields.
        param: its full name, for the error.

    Raises:
        RequestError: 400, it is probably misspelt.
    """
    near = difflib.get_close_matches(name, shape.model_fields, n=1, cutoff=0.85)
    if near:
        raise RequestError(
            400,
            f"there is no field {name}; did you mean {near[0]}?",
            param=param,
            code="unknown_field",
        )


def _is_list(name: str) -> bool:
    annotation = TranscriptionForm.model_fields[name].annotation
    return getattr(annotation, "__origin__", None) is tuple and len(get_args(annotation)) == 2


def _object(value: str) -> object:
    """Return the object that a JSON text holds, as curl's users write it; else the text."""
    try:
        return json.loads(value) if value.startswith("{") else value
    except ValueError:
        return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:100] + "…"


def _channel(channels: str) -> ChannelChoice:
    if channels in ("mix", "left", "right"):
        return channels  # type: ignore[return-value]
    if not channels.isdecimal():
        raise UsageError(f"channels is {channels}; it can be mix, left, right, each or a number")
    return int(channels)
