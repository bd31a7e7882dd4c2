"""`StreamSession`: audio in, events out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.files import unit_scale
from megaasr.audio.waveform import SAMPLE_RATE, Samples, require_finite
from megaasr.errors import UsageError
from megaasr.records import Segment
from megaasr.stream.doubtful_speech import DoubtfulStretch
from megaasr.stream.events import Event, Final, Partial, Reset, SpeechStarted, SpeechStopped
from megaasr.stream.online_speech_activity import DetectedFrame, OnlineSpeechDetector
from megaasr.stream.options import StreamOptions
from megaasr.stream.partials import UtteranceText
from megaasr.stream.resampling import Resampler
from megaasr.stream.utterances import Boundary, Endpointer, LiveUtterance
from megaasr.transcribe.chunking import VAD_FRAME, Chunk
from megaasr.transcribe.language_switch import HISTORY
from megaasr.transcribe.recognizer import MegaASR

MAX_CARRIED_CHARACTERS = 240
"""Length of the text that `carry_context` gives the next utterance; the released system's."""


class StreamSession:
    """Transcribes one stream of audio while it comes.

    Everything is decided on the clock of the audio: the same audio gives the same events, however
    it is divided among the calls of `feed`. Nothing is kept of an utterance after its final
    segment, so memory does not grow. The model is called only where there may be speech. A session
    belongs to one thread at a time.

    Args:
        asr: the recognizer that decodes partial texts and final segments.
        options: how the session listens and decodes.

    Attributes:
        options: the options.
        partials: whether partial texts are made from now on; to be switched off while the machine
            is behind the audio. Without stable text, final segments do not depend on it.
    """

    def __init__(self, asr: MegaASR, options: StreamOptions | None = None) -> None:
        self.options = StreamOptions() if options is None else options
        self.partials = self.options.partials
        self._asr = asr
        self._resampler = Resampler(self.options.sample_rate)
        self._detector = OnlineSpeechDetector()
        self._endpointer = Endpointer(
            self.options.end_silence_s, asr.max_chunk_s, self.options.threshold
        )
        self._step_frames = max(1, round(self.options.step_s * SAMPLE_RATE / VAD_FRAME))
        # Each is emptied from the left only when an item is done, so that an error in the model,
        # or a caller that stops iterating, loses nothing.
        self._frames: deque[DetectedFrame] = deque()
        self._ended: deque[tuple[LiveUtterance, UtteranceText]] = deque()
        self._boundaries: deque[Boundary] = deque()
        self._events: deque[Event] = deque()
        self._text: UtteranceText | None = None
        self._fed = self._number = self._utterance = self._next_step = 0
        self._languages: tuple[str | None, ...] = ()
        self._carried = ""
        self._is_finished = self._is_over = False

    @property
    def fed_s(self) -> float:
        """Seconds of audio that the session was fed with."""
        return self._fed / self.options.sample_rate

    def feed(self, samples: NDArray[Any], sample_rate: int | None = None) -> Iterator[Event]:
        """Take the next samples, and return an iterator over the events up to now.

        The samples are taken at once; the model runs while the events are iterated. Events that
        are not iterated come with the next call.

        Args:
            samples: array of shape [time] of any length: floats within -1..1, int16, int32 or
                uint8 (128 is silence).
            sample_rate: samples per second, to be checked; None trusts the caller.

        Raises:
            UsageError: the session is finished, the rate changed, or the array has another shape
                or type; nothing of it was taken.
            AudioFormatError: a sample is not finite; nothing of the array was taken.
            ModelError: the model fails, while iterating; a later call tries again.
        """
        if self._is_finished:
            raise UsageError("the session is finished; open another one for more audio")
        block = self.checked(samples, sample_rate)
        self._fed += len(block)
        self._detect(self._resampler.add(block))
        return self._run()

    def checked(self, samples: NDArray[Any], sample_rate: int | None = None) -> Samples:
        """Return samples as `feed` takes them, float32 of shape [time]; nothing is taken.

        Raises:
            UsageError, AudioFormatError: as `feed`.
        """
        rate = self.options.sample_rate
        if sample_rate is not None and sample_rate != rate:
            raise UsageError(
                f"{sample_rate} Hz in a session of {rate} Hz: a session keeps its rate; finish "
                "this one and open another"
            )
        array = unit_scale(np.asarray(samples))
        if array.ndim != 1:
            raise UsageError(
                f"samples must be of shape [time], got {list(array.shape)}; mix the channels "
                "before, or open a session for each"
            )
        require_finite(array, rate, "<stream>", offset=self._fed)
        return array.astype(np.float32)

    def finish(self) -> Iterator[Event]:
        """End the stream, and return an iterator over the last events.

        Raises:
            ModelError: the model fails, while iterating; another call tries again.
        """
        if not self._is_finished:
            self._is_finished = True
            self._detect(self._resampler.finish())
            self._frames.extend(self._detector.finish())
        return self._run()

    def _detect(self, samples: Samples) -> None:
        self._frames.extend(self._detector.add(samples))

    def _run(self) -> Iterator[Event]:
        while True:
            while self._events:
                yield self._events.popleft()
            if self._ended:
                self._finalize(*self._ended[0])
                self._ended.popleft()
            elif self._boundaries:
                self._cross(self._boundaries[0])
                self._boundaries.popleft()
            elif self._text is not None and self._is_step_due():
                self._step(self._text)
            elif self._frames:
                self._boundaries.extend(self._endpointer.add(self._frames.popleft()))
            elif self._is_finished and not self._is_over:
                self._is_over = True
                self._boundaries.extend(self._endpointer.finish())
            else:
                return

    def _cross(self, boundary: Boundary) -> None:
        """Begin or end an utterance, or decode what may be speech between utterances."""
        if isinstance(boundary, LiveUtterance):
            self._end(boundary)
        elif isinstance(boundary, DoubtfulStretch):
            self._decode_doubtful(boundary)
        else:
            self._begin()
            self._emit(SpeechStarted, start_s=boundary.start / SAMPLE_RATE)

    def _is_step_due(self) -> bool:
        return (
            self.partials
            and self._endpointer.is_speaking
            and self._endpointer.speech_frames >= self._next_step
        )

    def _step(self, text: UtteranceText) -> None:
        """Decode the utterance so far."""
        self._next_step = self._endpointer.speech_frames + self._step_frames
        if text.step(self._endpointer.samples(), may_commit=self._endpointer.may_commit):
            self._emit(
                Partial,
                stable=text.commitment.stable,
                volatile=text.commitment.volatile,
                language=text.language,
                route=text.route,
            )

    def _decode_doubtful(self, doubtful: DoubtfulStretch) -> None:
        """Decode a stretch that may be speech; it is an utterance if its text passes all checks."""
        chunk = self._asr.make_chunk(doubtful.samples, doubtful.start)
        segment = self._decode(chunk, self._context())
        if segment.text and not segment.checks:
            self._utterance += 1
            self._emit(SpeechStarted, start_s=doubtful.start / SAMPLE_RATE)
            self._emit(SpeechStopped, stop_s=doubtful.speech_end / SAMPLE_RATE)
            self._keep(segment)
            self._emit(Final, segment=segment, continued=False)

    def _begin(self) -> None:
        """Begin an utterance."""
        self._utterance += 1
        self._text = UtteranceText(self._asr, self.options, self._context())
        self._next_step = self._step_frames

    def _end(self, utterance: LiveUtterance) -> None:
        """Note that an utterance ended; its final segment is decoded next."""
        assert self._text is not None
        if utterance.ending != "length":
            self._emit(SpeechStopped, stop_s=utterance.speech_end / SAMPLE_RATE)
        self._ended.append((utterance, self._text))
        self._text = None

    def _finalize(self, utterance: LiveUtterance, text: UtteranceText) -> None:
        """Decode an utterance that ended, as `transcribe` decodes a recording."""
        chunk = self._asr.make_chunk(utterance.samples, utterance.start)
        segment = self._decode(chunk, text.context)
        stable = text.commitment.stable
        continued = not segment.text.startswith(stable)
        if continued:
            segment = self._asr.decode_chunk(
                chunk, language=text.language, context=text.context, prefix=stable
            )
        self._keep(segment)
        self._emit(Final, segment=segment, continued=continued)
        if utterance.ending == "length":
            self._emit(Reset, reason="length")
            self._begin()

    def _decode(self, chunk: Chunk, context: str) -> Segment:
        """Decode a chunk of the stream, given the languages before it."""
        return self._asr.decode_chunk(
            chunk, language=self.options.language, context=context, languages=self._languages
        )

    def _context(self) -> str:
        return f"{self.options.context} {self._carried}".strip()

    def _keep(self, segment: Segment) -> None:
        """Keep what later utterances are decoded with: the language and, if wanted, the text."""
        if segment.text:
            self._languages = (*self._languages, segment.language)[-HISTORY:]
        if segment.text and self.options.carry_context:
            tail = f"{self._carried} {segment.text}".strip()[-MAX_CARRIED_CHARACTERS:]
            self._carried = tail

    def _emit(self, kind: type[Event], **fields: Any) -> None:
        self._number += 1
        at_s = self._endpointer.position / SAMPLE_RATE
        self._events.append(kind(self._number, at_s, self._utterance, **fields))


def open_stream(asr: MegaASR, **options: Any) -> StreamSession:
    """Open a live session.

    Args:
        asr: the recognizer.
        options: the fields of `StreamOptions`.

    Raises:
        UsageError: an option cannot be used.
    """
    return StreamSession(asr, StreamOptions(**options))
