"""Feeding a live system at a simulated clock that charges what it computes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.model.interface import Recognition, Request, SamplingSettings, SpeechModel
from megaasr.score.streaming.updates import ClipRun, Update
from megaasr.stream.events import Event, Final, Partial
from megaasr.stream.options import StreamOptions
from megaasr.stream.session import StreamSession
from megaasr.text.languages import join_texts
from megaasr.transcribe.recognizer import MegaASR

Clock = Literal["wall", "cpu"]
"""What is charged: seconds that pass, or seconds of all processor cores together, which other work
on the machine changes less."""
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True, slots=True)
class ShownText:
    """What a system shows: text that it will not change, and all text."""

    confirmed: str
    shown: str


class LiveSession(Protocol):
    """A live system at work on one recording; both methods yield what it shows from then on."""

    def feed(self, samples: Samples) -> Iterator[ShownText]:
        """Take the next samples, float32 of shape [time], 16 kHz mono."""
        ...

    def finish(self) -> Iterator[ShownText]:
        """End the recording."""
        ...


class CountingModel:
    """A model that counts its requests.

    Args:
        model: the model.

    Attributes:
        requests: number of requests.
    """

    def __init__(self, model: SpeechModel) -> None:
        self.requests = 0
        self._model = model

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._model.name

    @property
    def has_robust_route(self) -> bool:
        """Whether the model has an adapter."""
        return self._model.has_robust_route

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        """Transcribe chunks; the results are in the order of the requests."""
        self.requests += len(requests)
        return self._model.recognize(requests)

    def sample(
        self, requests: Sequence[Request], settings: SamplingSettings
    ) -> list[list[Recognition]]:
        """Return several sampled transcripts of each chunk."""
        self.requests += len(requests)
        return self._model.sample(requests, settings)


class OurSession:
    """A `StreamSession` as a live system.

    Args:
        asr: the recognizer.
        options: how the session listens and decodes.
    """

    def __init__(self, asr: MegaASR, options: StreamOptions) -> None:
        self._session = StreamSession(asr, options)
        self._finals: list[tuple[str, str | None]] = []

    def feed(self, samples: Samples) -> Iterator[ShownText]:
        """Take the next samples, and yield what is shown."""
        return self._shown(self._session.feed(samples))

    def finish(self) -> Iterator[ShownText]:
        """End the recording, and yield what is shown."""
        return self._shown(self._session.finish())

    def _shown(self, events: Iterator[Event]) -> Iterator[ShownText]:
        for event in events:
            if isinstance(event, Partial):
                texts = (event.stable, event.stable + event.volatile)
                confirmed, shown = (
                    join_texts([*self._finals, (text, event.language)]) for text in texts
                )
                yield ShownText(confirmed, shown)
            elif isinstance(event, Final):
                self._finals.append((event.segment.text, event.segment.language))
                text = join_texts(self._finals)
                yield ShownText(text, text)


def replay(
    open_session: Callable[[MegaASR], LiveSession],
    asr: MegaASR,
    samples: Samples,
    *,
    feed_s: float = 0.1,
    clock: Clock = "wall",
) -> ClipRun:
    """Feed a live system with a recording as if it came at its own pace.

    The clock stands at the arrival of the audio, or, if the system computed longer than that, at
    the end of its computing. Loading a model is not charged.

    Args:
        open_session: opens the system on a recognizer.
        asr: the recognizer.
        samples: the recording, float32 of shape [time], 16 kHz mono.
        feed_s: seconds of audio that arrive together, above 0.
        clock: what is charged.
    """
    model = CountingModel(asr.model)
    session = open_session(asr.with_model(model))
    read = CLOCKS[clock]
    clock_s = compute_s = 0.0
    updates: list[Update] = []
    last = ShownText("", "")

    def take(states: Callable[[], Iterator[ShownText]]) -> None:
        nonlocal clock_s, compute_s, last
        start = read()
        iterator = states()
        while True:
            state = next(iterator, None)
            passed, start = read() - start, read()
            clock_s += passed
            compute_s += passed
            if state is None:
                return
            if state != last:
                updates.append(Update(clock_s, state.confirmed, state.shown))
                last = state

    size = max(1, round(feed_s * SAMPLE_RATE))
    for first in range(0, len(samples), size):
        block = samples[first : first + size]
        clock_s = max(clock_s, (first + len(block)) / SAMPLE_RATE)
        take(lambda block=block: session.feed(block))  # type: ignore[misc]
    take(session.finish)
    return ClipRun(tuple(updates), compute_s, model.requests)
