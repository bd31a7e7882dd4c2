"""`MegaASR`: transcribes recordings of any length and number."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast, overload

from megaasr.audio.selection import EVERYTHING, Selection
from megaasr.audio.waveform import Samples
from megaasr.errors import AudioError, UsageError
from megaasr.hub import HubOptions
from megaasr.model.hub import DEFAULT_MODEL
from megaasr.model.interface import MAX_CHUNK_S, SpeechModel, WordAligner
from megaasr.records import Segment, Transcript
from megaasr.route.decision import RouteChoice, RouteDecision
from megaasr.transcribe.audio_stream import (
    Audio,
    AudioStream,
    as_list,
    audio_name,
    channel_streams,
)
from megaasr.transcribe.batch_run import BatchRun, RunEvent
from megaasr.transcribe.branch_choice import ChooseBranch
from megaasr.transcribe.bundle import ModelBundle, ModelOptions, RouterLike, open_bundle
from megaasr.transcribe.channels import name_channels
from megaasr.transcribe.chunk_decoder import ChunkDecoder
from megaasr.transcribe.chunk_source import make_chunk
from megaasr.transcribe.chunking import Chunk, SpeechDetector
from megaasr.transcribe.fallback import FallbackDecoder
from megaasr.transcribe.options import DEFAULT_RELIABILITY, DecodeOptions, ReliabilityOptions
from megaasr.transcribe.search import GREEDY, SearchOptions
from megaasr.transcribe.segment_facts import Calibrate, uncalibrated
from megaasr.transcribe.session import Outcome
from megaasr.transcribe.speech_activity import detect_speech

if TYPE_CHECKING:
    from megaasr.model.encoder_attention import EncoderAttention
    from megaasr.model.engine_limits import Engine

OnSegment = Callable[[str, Segment], None]
"""Called with the name of a recording and each of its segments, in order of time."""

_Audio = TypeVar("_Audio", bound=Audio)  # so that a list[str] is a list of recordings too


class MegaASR:
    """A speech model together with everything that recordings need.

    Recordings are split in pauses into chunks of at most 30 s (or what the model's folder states,
    see `megaasr.model.chunk_length`), and chunks of several recordings
    share batches. Silent chunks, chunks
    without detected speech, and recordings under 0.1 s are not decoded.

    Args:
        model: any `SpeechModel`.
        batch_size: largest number of chunks that are decoded at once, at least 1.
        router: selects the base or the robust branch for each chunk; None without one.
        route: `auto` (the router selects; without a router it is the base), `base` or `robust`
            (only this branch, even if its text is unreliable), or `both`.
        detector: voice-activity detection; None disables it.
        reliability: quality checks and their consequences.
        calibration: maps the model's probability of a word to its confidence.
        search: how the text of a chunk is searched: greedily, or by consensus of samples.
        aligner: forced aligner that times the words; None for the model's own times, or estimates.
        max_chunk_s: returns the length of the longest chunk in seconds, 2 to 30.
        choose_branch: chooses between the texts of the two branches where both decoded; None to
            choose by checks and log-probability.

    Raises:
        UsageError: `batch_size` is less than 1.
    """

    def __init__(  # noqa: PLR0913 (options by keyword)
        self,
        model: SpeechModel,
        *,
        batch_size: int = 8,
        router: RouterLike | None = None,
        route: RouteChoice = "auto",
        detector: SpeechDetector | None = None,
        reliability: ReliabilityOptions = DEFAULT_RELIABILITY,
        calibration: Calibrate = uncalibrated,
        search: SearchOptions = GREEDY,
        aligner: WordAligner | None = None,
        max_chunk_s: Callable[[], float] = lambda: MAX_CHUNK_S,
        choose_branch: ChooseBranch | None = None,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}; it must be at least 1")
        self._model = model
        self._batch_size = batch_size
        self._detector = detector
        self._max_chunk_s = max_chunk_s
        fallback = FallbackDecoder(
            model,
            reliability.thresholds,
            retry=reliability.retry,
            route=route,
            search=search,
            choose_branch=choose_branch,
        )
        self._decoder = ChunkDecoder(
            fallback,
            route=route,
            router=router,
            reliability=reliability,
            calibration=calibration,
            aligner=aligner,
        )

    @classmethod
    def from_bundle(
        cls,
        bundle: ModelBundle,
        options: ModelOptions,
        reliability: ReliabilityOptions = DEFAULT_RELIABILITY,
        search: SearchOptions = GREEDY,
        detector: SpeechDetector = detect_speech,
    ) -> MegaASR:
        """Return a recognizer for a model bundle.

        Args:
            bundle: model, router and calibration.
            options: the options that the bundle was opened with.
            reliability: quality checks and their consequences.
            search: how the text of a chunk is searched.
            detector: voice-activity detection, unless `reliability` disables it.
        """
        return cls(
            bundle.model,
            batch_size=options.max_batch_size,
            router=bundle.router,
            route=options.route,
            detector=detector if reliability.vad else None,
            reliability=reliability,
            calibration=bundle.calibration,
            search=search,
            aligner=bundle.aligner,
            max_chunk_s=bundle.max_chunk_s,
            choose_branch=bundle.choose_branch,
        )

    @classmethod
    def from_pretrained(  # noqa: PLR0913 (options by keyword)
        cls,
        name: str | Path = DEFAULT_MODEL,
        *,
        device: str | None = None,
        dtype: str | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | None = None,
        offline: bool = False,
        batch_size: int | None = None,
        memory: str | None = None,
        engine: Engine = "transformers",
        route: RouteChoice = "auto",
        threshold: float | None = None,
        adapter: str | Path | None = None,
        profile: str | Path | None = None,
        encoder_attention: EncoderAttention = "windowed",
        align: str = "model",
        reliability: ReliabilityOptions = DEFAULT_RELIABILITY,
        search: SearchOptions = GREEDY,
    ) -> MegaASR:
        """Load a model by name, with its adapter and its router if it has them.

        Args:
            name: a shipped model (`small` or `tiny`), a folder, or a name on the Hugging Face hub;
                a base alone, or base, adapter and router in the layout of `zhifeixie/Mega-ASR`.
            device: `cpu`, `cuda`, `cuda:1` or `mps`; None selects the best available.
            dtype: `float32`, `bfloat16`, `float16`, `int8` (on CPUs) or `auto`; None selects by
                device.
            revision: branch, tag or commit on the hub; None for the default branch.
            cache_dir: folder for downloads; None for the hub library's own.
            token: access token for the hub; None for the stored login.
            offline: use the local cache only.
            batch_size: largest number of chunks that are decoded at once, at least 1; None for 8,
                or as many as fit into `memory` if these are fewer.
            memory: memory that the model may use, which decides dtype and batch size unless they
                are stated: `8GB`, `7.5GiB`, or `auto` for what is free; None for no limit.
            engine: what runs the networks: `transformers`, or `vllm` in an environment that has it.
            route: branch selection: `auto`, `base`, `robust` or `both`.
            threshold: probability of degraded audio, 0..1, from which `auto` selects the robust
                branch; None for the router's own threshold.
            adapter: adapter folder in PEFT's layout; None for the model's own adapter.
            profile: file written by `mega-asr calibrate`, whose route and threshold apply unless
                they are given here.
            encoder_attention: `windowed` or `global`, see `megaasr.model.layout`.
            align: `model` to time words by the model's alignment heads, if it has any; `off` to
                estimate their times from the detected speech; else the name or folder of a forced
                aligner, such as `Qwen/Qwen3-ForcedAligner-0.6B-hf`.
            reliability: voice-activity detection, quality checks and retries.
            search: how the text of a chunk is searched: greedily, or by consensus of samples.

        Raises:
            ModelError: there is no such model, or it cannot be loaded.
            UsageError: an option is out of range, the model does not fit into the memory, or the
                route needs an adapter and the model has none.
        """
        options = ModelOptions(
            name=str(name),
            device=device,
            dtype=dtype,
            batch_size=batch_size,
            memory=memory,
            engine=engine,
            encoder_attention=encoder_attention,
            align=align,
            adapter=None if adapter is None else Path(adapter),
            route=route,
            threshold=threshold,
            hub=HubOptions(
                offline, revision, None if cache_dir is None else Path(cache_dir), token
            ),
        ).with_profile(None if profile is None else Path(profile))
        return cls.from_bundle(open_bundle(options), options, reliability, search)

    load = from_pretrained  # its name in version 0.1

    @property
    def model(self) -> SpeechModel:
        """The model that decodes the chunks."""
        return self._model

    @property
    def reliability(self) -> ReliabilityOptions:
        """Quality checks and their consequences."""
        return self._decoder.reliability

    @property
    def max_chunk_s(self) -> float:
        """Length of the longest chunk in seconds, 2 to 30."""
        return self._max_chunk_s()

    def __repr__(self) -> str:
        return f"MegaASR({self._model.name!r}, route={self._decoder.route!r})"

    def with_uncalibrated_confidence(self) -> MegaASR:
        """Return a copy whose confidence of a word is the model's own probability."""
        copied = copy.copy(self)
        copied._decoder = replace(self._decoder, calibration=uncalibrated)
        return copied

    def with_model(self, model: SpeechModel) -> MegaASR:
        """Return a copy that decodes with another model, such as a client of a shared one."""
        other = copy.copy(self)
        other._model = model
        other._decoder = self._decoder.using(model)
        return other

    @overload
    def transcribe(
        self,
        audio: list[_Audio] | tuple[_Audio, ...],
        *,
        sample_rate: int | None = None,
        language: str | None = None,
        context: str = "",
        selection: Selection = EVERYTHING,
        on_segment: OnSegment | None = None,
    ) -> list[Transcript]: ...

    @overload
    def transcribe(
        self,
        audio: Audio,
        *,
        sample_rate: int | None = None,
        language: str | None = None,
        context: str = "",
        selection: Selection = EVERYTHING,
        on_segment: OnSegment | None = None,
    ) -> Transcript: ...

    def transcribe(
        self,
        audio: Audio | list[_Audio] | tuple[_Audio, ...],
        *,
        sample_rate: int | None = None,
        language: str | None = None,
        context: str = "",
        selection: Selection = EVERYTHING,
        on_segment: OnSegment | None = None,
    ) -> Transcript | list[Transcript]:
        """Transcribe one recording, or a list of recordings in shared batches.

        Args:
            audio: a path, the bytes of an encoded file, an open binary file, a `Waveform`, an array
                or tensor (float within -1..1, int16, int32 or uint8; shape [time] or
                [time, channels]), a pair (array, rate), or a dictionary with `array` and
                `sampling_rate`.
            sample_rate: samples per second, 4,000 to 192,000; required for arrays and tensors,
                ignored for inputs that state their own rate.
            language: ISO code to force; None lets the model identify the language of each chunk.
            context: free text that biases the model: names, domain terms, preceding text.
            selection: audio track and channels; the default track and the mix of its channels.
            on_segment: called with each segment as soon as it is final.

        Returns:
            One transcript for one input, a list for a list. An empty text comes with a `reason`.

        Raises:
            AudioError: a recording cannot be used; for a list, raised at the first such recording
                (`transcribe_many` continues).
            ModelError: the model fails.
            UsageError: an argument cannot be used.
        """
        recordings = as_list(audio)
        outcomes = self.transcribe_many(
            [cast("Audio", audio)] if recordings is None else recordings,
            sample_rate=sample_rate,
            language=language,
            context=context,
            selection=selection,
            on_segment=on_segment,
        )
        transcripts = [outcome.unwrap() for outcome in outcomes]
        return transcripts[0] if recordings is None else transcripts

    def transcribe_many(
        self,
        audios: Iterable[Audio],
        *,
        sample_rate: int | None = None,
        language: str | None = None,
        context: str = "",
        selection: Selection = EVERYTHING,
        on_segment: OnSegment | None = None,
    ) -> Iterator[Outcome]:
        """Transcribe any number of recordings; a broken one never affects the others.

        Outcomes are in the order of the inputs, each as soon as it and all before it are complete.
        `audios` is read only as far ahead as a few batches need, and long recordings are read in
        blocks, so that memory grows with neither; only the text of unfinished recordings is kept.
        `on_segment` is called before the outcome that the segment belongs to, and never for a
        later recording before an earlier one is complete. Arguments as for `transcribe`.

        Raises:
            ModelError: the model fails.
            UsageError: an argument cannot be used.
        """
        if isinstance(audios, str | bytes):
            raise UsageError("transcribe_many needs a list of recordings; one was given")
        streams = (AudioStream(audio, sample_rate, selection) for audio in audios)
        for event in self._events(streams, DecodeOptions(language, context)):
            if isinstance(event, Outcome):
                yield event
            elif on_segment is not None:
                on_segment(*event)

    def segments(
        self,
        audio: Audio,
        *,
        sample_rate: int | None = None,
        language: str | None = None,
        context: str = "",
        selection: Selection = EVERYTHING,
    ) -> Iterator[Segment]:
        """Yield the segments of one recording as they become final. Arguments as `transcribe`.

        Raises:
            AudioError: the recording cannot be used; raised after some segments perhaps.
            ModelError: the model fails.
            UsageError: an argument cannot be used.
        """
        stream = AudioStream(audio, sample_rate, selection)
        for event in self._events([stream], DecodeOptions(language, context)):
            if isinstance(event, Outcome):
                event.unwrap()
            else:
                yield event[1]

    def make_chunk(self, samples: Samples, offset: int = 0) -> Chunk:
        """Return a part of a recording as the chunk that `transcribe` would make of it alone.

        Args:
            samples: the part, float32 of shape [time], 16 kHz mono, 1 sample to 30 s.
            offset: number of samples of the recording before it.
        """
        return make_chunk(samples, offset, self._detector)

    def decode_chunk(
        self,
        chunk: Chunk,
        *,
        language: str | None = None,
        context: str = "",
        languages: Sequence[str | None] = (),
        prefix: str = "",
    ) -> Segment:
        """Return the segment of a chunk, decoded as `transcribe` decodes it.

        Args:
            chunk: the audio, from `make_chunk`.
            language: ISO code to force; None lets the model identify the language.
            context: free text that biases the model: names, domain terms, preceding text.
            languages: languages of the segments with text before it, the latest last.
            prefix: text that the segment's text begins with; needs a language.

        Raises:
            ModelError: the model fails.
            UsageError: an argument cannot be used.
        """
        return self._decoder.decode(chunk, DecodeOptions(language, context), languages, prefix)

    def decide(self, samples: Samples) -> RouteDecision:
        """Return which branch decodes a chunk, and why.

        Args:
            samples: audio, float32 of shape [time], 16 kHz mono, at least one sample.
        """
        return self._decoder.decide(samples)

    def transcribe_channels(
        self,
        audio: Audio,
        *,
        sample_rate: int | None = None,
        track: int | None = None,
        language: str | None = None,
        context: str = "",
    ) -> tuple[Transcript, ...]:
        """Transcribe each channel of a recording for itself, in shared batches.

        What one channel hears of another's speaker is told once, see `megaasr.transcribe.channels`.

        Args:
            audio: a recording in any form that `transcribe` takes.
            sample_rate: samples per second of an array.
            track: number of the audio track, from 1 on; None selects as `Selection` does.
            language: ISO code to force; None lets the model identify the language of each chunk.
            context: free text that biases the model: names, domain terms, preceding text.

        Returns:
            One transcript for each channel, with its name as `channel`: `left` and `right` of two,
            `channel1`, `channel2` and so on of any other number.

        Raises:
            AudioError: the recording cannot be used.
            ModelError: the model fails.
            UsageError: an argument cannot be used.
        """
        streams = channel_streams(audio, sample_rate, track)
        events = self._events(streams, DecodeOptions(language, context))
        transcripts = [event.unwrap() for event in events if isinstance(event, Outcome)]
        return name_channels(transcripts, [stream.meter.powers for stream in streams])

    def channel_outcome(
        self,
        audio: Audio,
        *,
        track: int | None = None,
        language: str | None = None,
        context: str = "",
    ) -> Outcome:
        """Transcribe each channel as `transcribe_channels` does; a broken recording is no error.

        Raises:
            ModelError: the model fails.
            UsageError: an argument cannot be used.
        """
        name = audio_name(audio)
        try:
            first, *others = self.transcribe_channels(
                audio, track=track, language=language, context=context
            )
        except AudioError as error:
            return Outcome(name, error=error)
        return Outcome(name, transcript=first, other_channels=tuple(others))

    def _events(self, streams: Iterable[AudioStream], options: DecodeOptions) -> Iterator[RunEvent]:
        """Yield segments and outcomes, in the order of the inputs."""
        run = BatchRun(
            self._decoder,
            options,
            model=self._model.name,
            detector=self._detector,
            max_chunk_s=self._max_chunk_s,
            batch_size=self._batch_size,
        )
        return run.events(streams)
