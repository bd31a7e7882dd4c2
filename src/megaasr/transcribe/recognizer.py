"""`MegaASR`: recordings of any length and number in, transcripts out."""

from __future__ import annotations

import copy
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypedDict, TypeVar, get_args, overload

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.errors import UsageError
from megaasr.model.interface import Route, Samples, SpeechModel
from megaasr.records import Segment, Transcript
from megaasr.route.decision import NO_ROUTER, RouteChoice, RouteDecision
from megaasr.transcribe.confidence import read_calibration
from megaasr.transcribe.guard import Caution, Heard
from megaasr.transcribe.recording import Audio, Job, Outcome, Recording
from megaasr.transcribe.retries import Hearing, Listener
from megaasr.transcribe.segment import Piece, SpeechDetector

if TYPE_CHECKING:
    from megaasr.model.layout import EncoderAttention


class Decider(Protocol):
    """Something that chooses the branch for a piece of audio, as `megaasr.route.router.Router`."""

    def decide(self, samples: Samples) -> RouteDecision:
        """Decide about float32 [time] at 16 kHz."""
        ...


DEFAULT_CAUTION = Caution()


class _PerRecording(TypedDict):
    detector: SpeechDetector | None
    calibration: Callable[[float], float]
    drop_unreliable: bool


OnSegment = Callable[[str, Segment], None]
"""Called with the name of the recording and each of its segments, in order of time."""

_Audio = TypeVar("_Audio", bound=Audio)  # so that a list[str] is a list of recordings too

_LOOK_AHEAD_BATCHES = 4
"""So many batches of pieces are held and sorted by length: less padding, bounded memory."""


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the caller asks of the model for every piece."""

    language: str | None
    context: str


class MegaASR:
    """A speech model with everything around it that recordings need.

    Recordings are cut at quiet places into pieces of at most 30 s; pieces of several recordings
    share batches. Silence and clips under 0.1 s never reach the model.

    Args:
        model: any `SpeechModel`.
        batch_size: how many pieces the model hears at once, at least 1.
        router: decides for each piece whether the model's robust branch hears it; None where
            there is none.
        route: `auto` (the router decides; without one the base hears everything), `base` or
            `robust` (this branch alone, also where its text is suspicious), or `both`.
        detector: hears where somebody speaks; None leaves voice-activity detection out.
        caution: what is done about texts that may not be what was said.
        calibration: from the model's probabilities to confidence.

    Raises:
        UsageError: if `batch_size` is less than 1.
    """

    def __init__(
        self,
        model: SpeechModel,
        *,
        batch_size: int = 8,
        router: Decider | None = None,
        route: RouteChoice = "auto",
        detector: SpeechDetector | None = None,
        caution: Caution = DEFAULT_CAUTION,
        calibration: Callable[[float], float] = float,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}; it must be at least 1")
        self._router = router
        self._route = route
        self._model = model
        self._batch_size = batch_size
        self._guards = caution.thresholds
        self._listener = Listener(model, caution.thresholds, retry=caution.retry, route=route)
        self._per_recording: _PerRecording = {
            "detector": detector,
            "calibration": calibration,
            "drop_unreliable": caution.drop_unreliable,
        }

    @classmethod
    def load(  # noqa: PLR0913 (options by keyword)
        cls,
        name: str | Path = "tiny",
        *,
        device: str | None = None,
        offline: bool = False,
        batch_size: int = 8,
        route: RouteChoice = "auto",
        threshold: float | None = None,
        adapter: str | Path | None = None,
        profile: str | Path | None = None,
        encoder_attention: EncoderAttention = "windowed",
        caution: Caution = DEFAULT_CAUTION,
    ) -> MegaASR:
        """Load a model by name, with its adapter and its router if it has them.

        Args:
            name: `tiny` (ships with the package), a folder, or a name on the Hugging Face hub; a
                base alone, or base, adapter and router as `zhifeixie/Mega-ASR` has them.
            device: `cpu`, `cuda`, `cuda:1`, `mps`; None takes the best there is.
            offline: never use the network.
            batch_size: how many pieces the model hears at once, at least 1.
            route: which branch hears a piece: `auto`, `base`, `robust` or `both`.
            threshold: 0..1, from which probability of being degraded on `auto` takes the robust
                branch; None for the router's own.
            adapter: a folder in PEFT's layout, instead of the model's own.
            profile: of `mega-asr calibrate`; its route and threshold, where none are given.
            encoder_attention: `windowed` or `global`, see `megaasr.model.layout`.
            caution: voice-activity detection, guards, and what follows from them.

        Raises:
            ModelError: if there is no such model, or it cannot be loaded.
            UsageError: if `batch_size` or `threshold` is out of range, or the route is `robust`
                and the model has no adapter.
        """
        from megaasr.model.hub import find_model
        from megaasr.model.loading import load_model  # brings torch with it
        from megaasr.model.parts import find_parts
        from megaasr.route.profile import RoutingProfile
        from megaasr.route.router import find_router
        from megaasr.transcribe.speech_activity import detect_speech

        if batch_size < 1:  # before seconds go into loading
            raise UsageError(f"batch_size is {batch_size}; it must be at least 1")
        check_route(route)
        if profile is not None:
            fitted = RoutingProfile.read(Path(profile))
            fitted.require(name, offline=offline)
            route, threshold = fitted.over(route, threshold)
        model = load_model(
            name,
            device=device,
            offline=offline,
            batch_size=batch_size,
            encoder_attention=encoder_attention,
            adapter=adapter,
        )
        if route in ("robust", "both") and not model.has_robust_route:
            raise UsageError(f"{name} has no adapter, so there is no robust route")
        router = None
        if route in ("auto", "both") and model.has_robust_route:
            router = find_router(name, threshold=threshold, device=device, offline=offline)
        return cls(
            model,
            batch_size=batch_size,
            router=router,
            route=route,
            detector=detect_speech if caution.vad else None,
            caution=caution,
            calibration=read_calibration(find_parts(find_model(str(name), offline=offline)).base),
        )

    @property
    def model(self) -> SpeechModel:
        """The model that hears the pieces."""
        return self._model

    def with_plain_confidence(self) -> MegaASR:
        """Return a copy that gives the model's own probabilities of words as their confidence."""
        other = copy.copy(self)
        other._per_recording = {**self._per_recording, "calibration": float}
        return other

    @overload
    def transcribe(
        self,
        audio: list[_Audio] | tuple[_Audio, ...],
        *,
        sample_rate: int | None = None,
        language: str | None = None,
        context: str = "",
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
        on_segment: OnSegment | None = None,
    ) -> Transcript: ...

    def transcribe(
        self,
        audio: Audio | list[_Audio] | tuple[_Audio, ...],
        *,
        sample_rate: int | None = None,
        language: str | None = None,
        context: str = "",
        on_segment: OnSegment | None = None,
    ) -> Transcript | list[Transcript]:
        """Transcribe one recording, or a list of them in shared batches.

        Args:
            audio: a path, the bytes of an encoded file, an open binary file, a `Waveform`, or an
                array (float within -1..1, int16, int32 or uint8; [time] or [time, channels]).
            sample_rate: samples per second, 4,000 to 192,000; needed for arrays, while other
                inputs know their own.
            language: ISO code to force; None lets the model decide for each piece.
            context: free text that helps the model: names, hot words, what was said before.
            on_segment: called with each segment as soon as it is known.

        Returns:
            One transcript for one input, a list for a list. Empty text comes with a `reason`.

        Raises:
            AudioError: for the first recording that cannot be used (see `transcribe_many`).
            ModelError: if the model fails.
            UsageError: if an argument cannot be used.
        """
        if isinstance(audio, tuple) and any(isinstance(one, int | float) for one in audio):
            raise UsageError("give the samples alone, and their rate as sample_rate=…")
        outcomes = self.transcribe_many(
            audio if isinstance(audio, list | tuple) else [audio],
            sample_rate=sample_rate,
            language=language,
            context=context,
            on_segment=on_segment,
        )
        transcripts = [outcome.unwrap() for outcome in outcomes]
        return transcripts if isinstance(audio, list | tuple) else transcripts[0]

    def transcribe_many(
        self,
        audios: Iterable[Audio],
        *,
        sample_rate: int | None = None,
        language: str | None = None,
        context: str = "",
        on_segment: OnSegment | None = None,
    ) -> Iterator[Outcome]:
        """Transcribe a stream of recordings; one that is broken never stops the others.

        Outcomes come in the order of the inputs, each as soon as it and all before it are known.
        `audios` is read only as far ahead as a few batches need, and long recordings are read in
        blocks, so that memory grows with neither; only the text of unfinished ones is kept.
        `on_segment` is called before the outcome that the segment belongs to, and never for a
        later recording before an earlier one is finished. Arguments as for `transcribe`.

        Raises:
            ModelError: if the model fails.
            UsageError: if an argument cannot be used.
        """
        for event in self._events(audios, sample_rate, _Wish(language, context)):
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
    ) -> Iterator[Segment]:
        """Yield the segments of one recording as they become known. Arguments as `transcribe`.

        Raises:
            AudioError: when the recording turns out to be unusable, perhaps after some segments.
            ModelError: if the model fails.
            UsageError: if an argument cannot be used.
        """
        for event in self._events([audio], sample_rate, _Wish(language, context)):
            if isinstance(event, Outcome):
                event.unwrap()
            else:
                yield event[1]

    def _events(
        self, audios: Iterable[Audio], sample_rate: int | None, wish: _Wish
    ) -> Iterator[tuple[str, Segment] | Outcome]:
        """Yield segments and outcomes, in the order of the inputs."""
        if isinstance(audios, str | bytes):
            raise UsageError("transcribe_many needs a list of recordings; one was given")
        line: deque[Recording] = deque()  # not handed over yet, in the order of the inputs
        pending: list[Job] = []
        limit = self._batch_size  # a single batch at first, so that the first words come soon
        for audio in audios:
            recording = Recording(audio, sample_rate, **self._per_recording)
            line.append(recording)
            for job in recording.jobs():
                pending.append(job)
                if len(pending) >= limit:
                    yield from self._answer(pending, line, wish)
                    limit = self._batch_size * _LOOK_AHEAD_BATCHES
            if len(line) > limit:  # broken and silent files queue behind one that waits
                yield from self._answer(pending, line, wish)
            yield from self._hand_over(line, wish)
        yield from self._answer(pending, line, wish)

    def _answer(
        self, pending: list[Job], line: deque[Recording], wish: _Wish
    ) -> Iterator[tuple[str, Segment] | Outcome]:
        """Let the model hear the pending pieces, and yield what can be handed over after each."""
        jobs = [job for job in pending if job.recording.error is None]
        pending.clear()
        for batch in _batches(jobs, self._batch_size):
            decisions = [self._decide(job.piece.spoken_part()) for job in batch]
            hearings = [
                self._hearing(job.piece, decision.route, wish.language, wish.context)
                for job, decision in zip(batch, decisions, strict=True)
            ]
            self._listener.hear(hearings)
            for job, hearing, decision in zip(batch, hearings, decisions, strict=True):
                job.recording.answer(job, hearing, decision)
            yield from self._hand_over(line, wish)

    def _hearing(self, piece: Piece, route: Route, language: str | None, context: str) -> Hearing:
        samples = piece.spoken_part()
        about = Heard(len(samples) / SAMPLE_RATE, context, piece.speech_s, piece.speech_probability)
        seed = zlib.crc32(samples.tobytes())  # the audio alone decides what is drawn
        limit = self._guards.branches_disagree
        return Hearing(samples, route, about, language, seed, limit)

    def _settle(self, recording: Recording, wish: _Wish) -> None:
        """Hear the next segment again if its language is another than before it.

        It is forced to that language, and the surer text is kept.
        """
        found = recording.turned() if wish.language is None else None
        if found is None:
            return
        job, language = found
        decision = self._decide(job.piece.spoken_part())
        hearing = self._hearing(job.piece, decision.route, language, wish.context)
        self._listener.hear([hearing])
        recording.settle_language(job, hearing)

    def _decide(self, samples: Samples) -> RouteDecision:
        """Choose the branch that hears a piece."""
        if self._route in ("base", "robust"):
            return RouteDecision(_route(self._route), reason="asked for")
        return NO_ROUTER if self._router is None else self._router.decide(samples)

    def _hand_over(
        self, line: deque[Recording], wish: _Wish
    ) -> Iterator[tuple[str, Segment] | Outcome]:
        """Yield the news of the first recording in line; when it is done, go on to the next."""
        while line:
            first = line[0]
            self._settle(first, wish)
            while (segment := first.next_segment()) is not None:
                yield first.name, segment
                self._settle(first, wish)
            if not first.done:
                return
            line.popleft()
            yield first.outcome(self._model.name)


def _route(choice: RouteChoice | None) -> Route:
    return "robust" if choice == "robust" else "base"


def check_route(route: str) -> None:
    """Raise unless a route is one of `RouteChoice`.

    Raises:
        UsageError: it is none.
    """
    if route not in get_args(RouteChoice):
        raise UsageError(f"route {route!r}: it is one of {', '.join(get_args(RouteChoice))}")


def _batches(jobs: Sequence[Job], size: int) -> list[list[Job]]:
    """Group pieces of like length, and put the groups with the earliest pieces first."""
    order = sorted(range(len(jobs)), key=lambda at: len(jobs[at].piece.samples))
    groups = [order[at : at + size] for at in range(0, len(order), size)]
    groups.sort(key=min)
    return [[jobs[at] for at in group] for group in groups]
