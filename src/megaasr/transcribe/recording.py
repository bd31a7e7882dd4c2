"""One recording on its way to a transcript: opened, cut, its answers gathered in order."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.files import blocks, from_array, resample
from megaasr.audio.pcm import noting_truncation
from megaasr.audio.source import AudioSource
from megaasr.audio.waveform import SAMPLE_RATE, Waveform
from megaasr.errors import AudioEmptyError, AudioError, UsageError
from megaasr.model.interface import Route, Samples
from megaasr.records import Attempt, Check, Segment, Transcript
from megaasr.route.decision import RouteDecision
from megaasr.text.languages import join_texts
from megaasr.transcribe.retries import Hearing
from megaasr.transcribe.segment import Piece, SpeechDetector, cut, is_silent
from megaasr.transcribe.word_times import timed_words

Audio: TypeAlias = AudioSource | Waveform | NDArray[np.generic]
"""A path, the bytes of an encoded file, an open binary file, a waveform, or an array."""

SHORTEST_S = 0.1
"""Less audio than this holds no word; the model is not asked."""
SURELY_NO_SPEECH = 0.02
"""A piece in which the VAD's probability of speech stays below this is not heard by the model: no
clip of degraded speech up to severity 0.8 does, and one in a hundred above
(`python -m benchmarks.speech_activity corpus/simulated-dev`)."""

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one recording: exactly one of `transcript` and `error` is set.

    Attributes:
        audio: the path as given, or `<bytes>`, `<stream>`, `<array>`.
        transcript: the words.
        error: why there are none.
    """

    audio: str
    transcript: Transcript | None = None
    error: AudioError | None = None

    def unwrap(self) -> Transcript:
        """Return the transcript.

        Raises:
            AudioError: if the recording could not be used.
        """
        if self.transcript is None:
            raise self.error or AudioError(self.audio, "was not transcribed")
        return self.transcript


@dataclass(frozen=True, slots=True)
class Job:
    """A piece that the model has to hear.

    Attributes:
        recording: where the answer belongs.
        number: of the piece in the recording, from 0.
        piece: the audio.
        flags: what is known before the model is asked.
    """

    recording: Recording
    number: int
    piece: Piece
    flags: tuple[str, ...] = field(default=())


class Recording:
    """One input, from opening it to its transcript.

    Attributes:
        name: the path as given, or `<bytes>`, `<stream>`, `<array>`.
        error: why the input cannot be used, once that is known.
    """

    def __init__(
        self,
        audio: Audio,
        sample_rate: int | None = None,
        *,
        detector: SpeechDetector | None = None,
        calibration: Callable[[float], float] = float,
        drop_unreliable: bool = False,
    ) -> None:
        self.name = audio_name(audio)
        self._detector, self._calibration = detector, calibration
        self._drop_unreliable = drop_unreliable
        self.error: AudioError | None = None
        self._audio = audio
        self._sample_rate = sample_rate
        self._segments: list[Segment | None] = []  # None: the model has not answered yet
        self._reported = 0
        self._answered: dict[int, Job] = {}  # known, and not reported yet
        self._languages: list[str | None] = []  # of the last two segments with words, last first
        self._unanswered = 0
        self._duration_s = 0.0
        self._truncated = False
        self._read = False

    @property
    def done(self) -> bool:
        """Whether nothing more will come: every piece is answered, or the input is broken."""
        return self.error is not None or (self._read and not self._unanswered)

    def jobs(self) -> Iterator[Job]:
        """Read on, and yield what the model has to hear; a broken input sets `error` and ends.

        Raises:
            UsageError: for an array without a sample rate.
        """
        try:
            for piece, last in _marking_last(cut(self._blocks(), self._detector)):
                self._duration_s = piece.end_s
                # Known in time: the reader has come to its end before `last` is true.
                flags = ("audio_truncated",) if last and self._truncated else ()
                unheard = _flags_of_unheard(piece)
                self._segments.append(
                    Segment(piece.start_s, piece.end_s, "", None, unheard + flags)
                    if unheard
                    else None
                )
                if not unheard:
                    self._unanswered += 1
                    yield Job(self, len(self._segments) - 1, piece, flags)
            if not self._segments:
                raise AudioEmptyError(self.name, "holds not a single sample; record it again")
            self._read = True
        except AudioError as error:
            self.error = error
        except OSError as error:
            self.error = AudioError(self.name, f"cannot be read: {error.strerror or error}")

    def answer(self, job: Job, hearing: Hearing, decision: RouteDecision) -> None:
        """File what was heard in one of the `jobs`, on which route."""
        best = hearing.best
        said, text = best.said, best.attempt.text
        checks = list(best.checks)
        apart, limit = hearing.disagreement(), hearing.disagreement_limit
        if apart is not None and apart > limit:
            checks.append(Check("branches_disagree", round(apart, 4), limit))
        flags = [check.flag for check in checks]
        if not text and not said.budget_hit:  # an output that was cut off holds no verdict
            flags.insert(0, "no_speech" if said.language is None else "no_words")
        words = timed_words(said.words, job.piece, self._calibration) if text else ()
        if text and best.checks:
            flags.append("unreliable")
            if self._drop_unreliable:
                flags.append("dropped")
                text, words = "", ()
        sure = [word.confidence for word in words if word.confidence is not None]
        self._segments[job.number] = Segment(
            job.piece.start_s,
            job.piece.end_s,
            text,
            said.language,
            (*flags, *job.flags),
            best.attempt.route,
            decision.degraded_probability,
            _route_reason(decision, best.attempt.route),
            round(sum(sure) / len(sure), 4) if sure else None,
            best.attempt.mean_logprob,
            words,
            tuple(checks),
            hearing.attempts if len(hearing.attempts) > 1 else (),
        )
        self._answered[job.number] = job
        self._unanswered -= 1

    def turned(self) -> tuple[Job, str] | None:
        """Return the next piece to be reported, and the language before it, if it is in another
        language than the two segments with words before it, which agree; else None."""
        number = self._reported
        segment = self._segments[number] if number < len(self._segments) else None
        job = self._answered.get(number)
        if segment is None or job is None or not segment.text:
            return None
        first, second = [*self._languages, None, None][:2]
        if first is None or first != second or segment.language in (first, None):
            return None
        return job, first

    def settle_language(self, job: Job, hearing: Hearing) -> None:
        """Keep the surer of a turned piece's text and that of hearing it in the language before."""
        before = self._segments[job.number]
        assert before is not None
        forced = hearing.best
        attempts = (*(before.attempts or (_attempt_of(before),)), *hearing.attempts)
        sure = before.mean_logprob if before.mean_logprob is not None else -math.inf
        forced_sure = forced.attempt.mean_logprob
        if forced.attempt.text and not forced.checks and (forced_sure or -math.inf) > sure:
            self._unanswered += 1
            self.answer(job, hearing, RouteDecision(_route_of(before), before.degraded_probability))
            after = self._segments[job.number]
            assert after is not None
            self._segments[job.number] = replace(
                after, attempts=attempts, route_reason=before.route_reason
            )
            return
        self._segments[job.number] = replace(
            before,
            flags=(*before.flags, "language_flip"),
            checks=(*before.checks, Check("language_flip", 1.0, 1.0)),
            attempts=attempts,
        )

    def next_segment(self) -> Segment | None:
        """Return, in order of time and once each, the next segment that has become known."""
        number = self._reported
        segment = self._segments[number] if number < len(self._segments) else None
        if segment is None:
            return None
        self._reported += 1
        self._answered.pop(number, None)
        if segment.text:
            self._languages = [segment.language, *self._languages][:2]
        return segment

    def outcome(self, model: str) -> Outcome:
        """Return the end result of a recording that is `done`.

        Args:
            model: the name of the model, for the transcript.
        """
        if self.error is not None:
            return Outcome(self.name, error=self.error)
        segments = tuple(segment for segment in self._segments if segment is not None)
        text = join_texts((segment.text, segment.language) for segment in segments)
        transcript = Transcript(
            text=text,
            language=_main_language(segments),
            duration_s=self._duration_s,
            model=model,
            segments=segments,
            reason=None if text else self._reason(segments),
            audio=self.name if isinstance(self._audio, str | os.PathLike) else None,
        )
        return Outcome(self.name, transcript=transcript)

    def _reason(self, segments: Sequence[Segment]) -> str:
        """Say why there is no text."""
        flags = [segment.flags for segment in segments]
        if any("too_short" in some for some in flags):
            duration_ms = self._duration_s * 1000.0
            return f"too short: {duration_ms:.3g} ms; at least {SHORTEST_S * 1000:.0f} ms is needed"
        if all("silent" in some for some in flags):
            return "no speech: the recording is silent"
        if any("dropped" in some for some in flags):
            return "what was heard is unreliable, and was dropped as asked"
        if all("no_speech" in some for some in flags):
            return "no speech was heard"
        if any("token_budget_hit" in some for some in flags):
            return "the model wrote no words before its token budget ended"
        return "the model heard speech but wrote no words"

    def _blocks(self) -> Iterator[Samples]:
        """Open the input and yield its samples at 16 kHz, noting whether it breaks off."""
        if isinstance(self._audio, np.ndarray):
            if self._sample_rate is None:
                raise UsageError("an array needs its sample_rate, in samples per second")
            waveform = from_array(self._audio, self._sample_rate, to_rate=SAMPLE_RATE)
            return iter([waveform.samples])
        if isinstance(self._audio, Waveform):
            samples, rate = self._audio.samples, self._audio.sample_rate
            return iter([samples if rate == SAMPLE_RATE else resample(samples, rate, SAMPLE_RATE)])
        return self._noting_truncation(blocks(self._audio))

    def _noting_truncation(self, stream: Iterator[Samples]) -> Iterator[Samples]:
        while True:
            with noting_truncation() as messages:
                block = next(stream, None)
            self._truncated |= bool(messages)
            if block is None:
                return
            yield block


def _attempt_of(segment: Segment) -> Attempt:
    """Return the only attempt behind a segment."""
    failed = tuple(check.flag for check in segment.checks)
    route = segment.route or "base"
    return Attempt(route, 0.0, 1, segment.text, segment.mean_logprob, failed)


def _route_reason(decision: RouteDecision, kept: str) -> str | None:
    """Return why a piece went its way, and that the other branch's text was kept if it was."""
    if not decision.reason or kept == decision.route:
        return decision.reason or None
    return f"{decision.reason}; the text of the {kept} branch was kept"


def _route_of(segment: Segment) -> Route:
    return "robust" if segment.route == "robust" else "base"


def audio_name(audio: Audio) -> str:
    """Return what to call an input in messages: its path, or the kind of thing it is."""
    if isinstance(audio, str | os.PathLike):
        return os.fspath(audio)
    if isinstance(audio, np.ndarray | Waveform):
        return "<array>"
    if isinstance(audio, bytes | bytearray | memoryview):
        return "<bytes>"
    name = getattr(audio, "name", None)
    return name if isinstance(name, str) else "<stream>"


def _main_language(segments: Iterable[Segment]) -> str | None:
    """Return the language with the most seconds of segments with words (of equals, the first)."""
    seconds: dict[str, float] = {}
    for segment in segments:
        if segment.text and segment.language is not None:
            spoken_s = segment.end - segment.start
            seconds[segment.language] = seconds.get(segment.language, 0.0) + spoken_s
    return max(seconds, key=seconds.__getitem__) if seconds else None


def _flags_of_unheard(piece: Piece) -> tuple[str, ...]:
    """Say why the model need not hear a piece: too short or silent; else nothing."""
    if piece.end_s < SHORTEST_S:  # only a whole recording can be this short
        return ("no_speech", "too_short")
    if is_silent(piece.samples):
        return ("no_speech", "silent")
    probability = piece.speech_probability
    if probability is not None and probability < SURELY_NO_SPEECH:
        return ("no_speech", "no_speech_detected")
    return ()


def _marking_last(items: Iterator[_Item]) -> Iterator[tuple[_Item, bool]]:
    """Yield every item with whether it is the last."""
    held: list[_Item] = []
    for item in items:
        if held:
            yield held.pop(), False
        held.append(item)
    if held:
        yield held.pop(), True
