"""Live sessions: the same events however audio is divided, finals as offline, nothing lost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import megaasr.cli
from megaasr import MegaASR
from megaasr.audio import read
from megaasr.audio.files import resample
from megaasr.audio.waveform import Samples
from megaasr.errors import AudioFormatError, ModelError, UsageError
from megaasr.model.interface import Recognition, Request, SamplingSettings, SpeechModel
from megaasr.stream.events import Event, Final, Partial, Reset, SpeechStarted, SpeechStopped
from megaasr.stream.online_speech_activity import DetectedFrame, OnlineSpeechDetector
from megaasr.stream.options import StreamOptions
from megaasr.stream.session import StreamSession, open_stream
from megaasr.transcribe.checks import CheckThresholds
from megaasr.transcribe.options import ReliabilityOptions

CLIPS = Path(megaasr.cli.__file__).parent / "demo_clips"
RATE = 16_000


@pytest.fixture(scope="module")
def asr() -> MegaASR:
    return MegaASR.from_pretrained("tiny", device="cpu")


@pytest.fixture(scope="module")
def speech() -> NDArray[np.float32]:
    """A clean, a degraded and a clean utterance, about 14 s."""
    pause = np.random.default_rng(0).normal(0, 1e-4, RATE).astype(np.float32)
    names = ("4-clean", "2-far_field", "1-clean")
    parts = [part for name in names for part in (read(CLIPS / f"{name}.flac").samples, pause)]
    return np.concatenate(parts)


def run(
    session: StreamSession, samples: NDArray[np.float32], step: int | Sequence[int] = 8_000
) -> list[Event]:
    events: list[Event] = []
    steps: Iterator[int] = iter([step] * len(samples) if isinstance(step, int) else step)
    start = 0
    while start < len(samples):
        size = next(steps)
        events += session.feed(samples[start : start + size])
        start += size
    return [*events, *session.finish()]


def finals(events: Sequence[Event]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


@pytest.fixture(scope="module")
def events(asr: MegaASR, speech: NDArray[np.float32]) -> list[Event]:
    return run(open_stream(asr), speech)


def test_the_events_of_a_stream(events: list[Event]) -> None:
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert [event.at_s for event in events] == sorted(event.at_s for event in events)
    kinds = [type(event) for event in events if not isinstance(event, Partial)]
    assert kinds == [SpeechStarted, SpeechStopped, Final] * 3
    assert any(isinstance(event, Partial) and event.stable for event in events)
    for event in events:
        assert json.loads(json.dumps(event.to_dict()))["type"] == event.type
    texts = [final.segment.text for final in finals(events)]
    assert all(len(text.split()) > 3 for text in texts)


def test_stable_text_begins_every_later_text_of_its_utterance(events: list[Event]) -> None:
    stable: dict[int, str] = {}
    for event in events:
        before = stable.get(event.utterance, "")
        if isinstance(event, Partial):
            assert event.stable.startswith(before)
            stable[event.utterance] = event.stable
        elif isinstance(event, Final):
            assert event.segment.text.startswith(before)
    assert any(stable.values())


def test_events_do_not_depend_on_the_division(
    asr: MegaASR, speech: NDArray[np.float32], events: list[Event]
) -> None:
    rng = np.random.default_rng(5)
    random_steps = rng.integers(1, 20_000, len(speech)).tolist()
    for step in (320, len(speech), random_steps):
        assert run(open_stream(asr), speech, step) == events


def test_a_final_is_what_offline_makes_of_the_same_cut(
    asr: MegaASR, speech: NDArray[np.float32]
) -> None:
    for final in finals(run(open_stream(asr, commit="final"), speech)):
        segment = final.segment
        assert segment.chunk_start is not None
        assert segment.chunk_end is not None
        bounds = round(segment.chunk_start * RATE), round(segment.chunk_end * RATE)
        transcript = asr.transcribe(speech[slice(*bounds)], sample_rate=RATE)
        (offline,) = transcript.segments
        assert not final.continued
        assert (segment.text, segment.route) == (offline.text, offline.route)
        assert segment.attempts == offline.attempts
        assert segment.confidence == offline.confidence
        assert [word.start for word in segment.words] == pytest.approx(
            [(word.start or 0.0) + segment.chunk_start for word in offline.words]
        )


def test_encodings_give_the_same_finals(
    asr: MegaASR, speech: NDArray[np.float32], events: list[Event]
) -> None:
    others = run(open_stream(asr, encoding="global", commit="final"), speech)
    texts = [final.segment.text for final in finals(events) if not final.continued]
    assert set(texts) <= {final.segment.text for final in finals(others)}


def test_other_rates_give_the_same_text(asr: MegaASR, speech: NDArray[np.float32]) -> None:
    louder = resample(speech, RATE, 48_000)
    integers = np.round(louder * 32_767).astype(np.int16)
    session = open_stream(asr, sample_rate=48_000, commit="final", partials=False)
    expected = run(open_stream(asr, commit="final", partials=False), speech)
    texts = [final.segment.text for final in finals(run(session, integers, 4_801))]
    assert texts == [final.segment.text for final in finals(expected)]


class CountedModel:
    """A model that counts what it is asked, and fails as often as it is told."""

    def __init__(self, model: SpeechModel, failures: int = 0) -> None:
        self._model, self.failures = model, failures
        self.name, self.has_robust_route = model.name, model.has_robust_route
        self.requests: list[Request] = []

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        if self.failures:
            self.failures -= 1
            raise ModelError("out of order")
        self.requests += requests
        return self._model.recognize(requests)

    def sample(
        self, requests: Sequence[Request], settings: SamplingSettings
    ) -> list[list[Recognition]]:
        return self._model.sample(requests, settings)


@pytest.mark.parametrize("kind", ["silence", "noise", "clicks", "hum"])
def test_without_speech_the_model_is_never_called(asr: MegaASR, kind: str) -> None:
    rng = np.random.default_rng(2)
    samples = np.zeros(20 * RATE, dtype=np.float32)
    if kind == "noise":
        samples = rng.normal(0, 0.05, samples.size).astype(np.float32)
        samples[5 * RATE : 6 * RATE] *= 10
    elif kind == "clicks":
        samples[rng.integers(0, samples.size, 60)] = 0.9
    elif kind == "hum":
        samples = (0.2 * np.sin(2 * np.pi * 50 * np.arange(samples.size) / RATE)).astype(np.float32)
    model = CountedModel(asr.model)
    assert run(open_stream(asr.with_model(model)), samples) == []
    assert model.requests == []


def test_speech_from_the_first_sample(asr: MegaASR) -> None:
    clip = read(CLIPS / "4-clean.flac").samples
    start = int(np.flatnonzero(np.abs(clip) > 0.02)[0])
    events = run(open_stream(asr), clip[start:])
    assert isinstance(events[0], SpeechStarted)
    assert events[0].start_s < 0.3
    assert len(finals(events)[0].segment.text.split()) > 3


def test_speech_without_a_pause_is_reset_and_goes_on(asr: MegaASR) -> None:
    clip = read(CLIPS / "4-clean.flac").samples
    loud = np.flatnonzero(np.abs(clip) > 0.02)
    spoken = clip[loud[0] : loud[-1]]
    samples = np.concatenate([spoken] * (40 * RATE // len(spoken) + 1))
    events = run(open_stream(asr, step_s=10.0, end_silence_s=3.0), samples)
    resets = [i for i, event in enumerate(events) if isinstance(event, Reset)]
    assert resets
    assert all(isinstance(events[i - 1], Final) for i in resets)
    segments = [final.segment for final in finals(events)]
    for before, after in pairwise(segments):
        assert before.chunk_end == after.chunk_start
    assert all((s.chunk_end or 0) - (s.chunk_start or 0) <= 30 for s in segments)
    assert segments[-1].chunk_end == pytest.approx(len(samples) / RATE, abs=0.01)


def test_bad_input_is_refused_and_nothing_is_lost(
    asr: MegaASR, speech: NDArray[np.float32], events: list[Event]
) -> None:
    session = open_stream(asr)
    received = list(session.feed(speech[:50_000]))
    broken = speech[50_000:60_000].copy()
    broken[77] = np.nan
    with pytest.raises(AudioFormatError, match=r"the sample at 3\.130 s is nan"):
        session.feed(broken)
    with pytest.raises(UsageError, match="44100 Hz in a session of 16000 Hz"):
        session.feed(speech[:100], 44_100)
    with pytest.raises(UsageError, match=r"shape \[time\]"):
        session.feed(speech[:100].reshape(50, 2))
    with pytest.raises(UsageError, match="must be float, int16"):
        session.feed(np.array(["a"]))
    received += session.feed(speech[50_000:], RATE)
    received += session.finish()
    assert received == events
    with pytest.raises(UsageError, match="finished"):
        session.feed(speech)
    assert list(session.finish()) == []


def test_events_that_nobody_iterated_come_later(
    asr: MegaASR, speech: NDArray[np.float32], events: list[Event]
) -> None:
    session = open_stream(asr)
    received = []
    for start in range(0, len(speech), 30_000):
        iterator = session.feed(speech[start : start + 30_000])
        received += [event for _, event in zip(range(2), iterator, strict=False)]
    assert [*received, *session.finish()] == events


def test_a_model_that_failed_is_asked_again(asr: MegaASR, speech: NDArray[np.float32]) -> None:
    model = CountedModel(asr.model)
    session = open_stream(asr.with_model(model), partials=False)
    expected = [f.segment.text for f in finals(run(session, speech))]
    model.failures = 2
    session = open_stream(asr.with_model(model), partials=False)
    received: list[Event] = []
    for start in range(0, len(speech), 8_000):
        try:
            received += session.feed(speech[start : start + 8_000])
        except ModelError:
            continue
    received += session.finish()
    assert model.failures == 0
    assert [f.segment.text for f in finals(received)] == expected


def test_a_changed_language_is_decoded_again(asr: MegaASR, speech: NDArray[np.float32]) -> None:
    """What `transcribe` does with a language that fits no segment before it."""

    class Switching(CountedModel):
        def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
            self.requests += requests
            language = requests[0].language or ("zh" if len(self.requests) == 3 else "en")
            return [Recognition("one two three four", language, 4, False, "", -0.1)]

    model = Switching(asr.model)
    model.has_robust_route = False
    session = open_stream(asr.with_model(model), partials=False)
    last = finals(run(session, speech))[-1].segment
    assert [request.language for request in model.requests] == [None, None, None, "en"]
    assert last.flags[-1] == "language_flip"
    assert len(last.attempts) == 2


def test_the_context_can_be_carried_on(asr: MegaASR, speech: NDArray[np.float32]) -> None:
    model = CountedModel(asr.model)
    session = open_stream(
        asr.with_model(model), partials=False, context="Names.", carry_context=True
    )
    texts = [final.segment.text for final in finals(run(session, speech))]
    contexts = list(dict.fromkeys(request.context for request in model.requests))
    assert contexts[:2] == ["Names.", f"Names. {texts[0]}"]
    assert all(len(context) <= 240 + len("Names. ") for context in contexts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rate": 100}, "4000 to 192000"),
        ({"end_silence_s": 0.0}, r"end_silence_s is 0; it must be 0\.1 to 5"),
        ({"step_s": 99.0}, "step_s is 99"),
        ({"encoding": "both"}, "'both'; it must be windowed or global"),
        ({"commit": "never"}, "agreement or rollback or final"),
        ({"language": "klingonese"}, ""),
    ],
)
def test_options_are_checked(options: dict[str, object], message: str) -> None:
    if message:
        with pytest.raises(UsageError, match=message):
            StreamOptions(**options)  # type: ignore[arg-type]
    else:
        assert StreamOptions(**options).language == "klingonese"  # type: ignore[arg-type]


@pytest.fixture
def doubtful_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector that is never sure enough to begin an utterance."""

    class Doubtful(OnlineSpeechDetector):
        def add(self, samples: Samples) -> Iterator[DetectedFrame]:
            for frame in super().add(samples):
                yield replace(frame, probability=0.4 * frame.probability)

        def finish(self) -> Iterator[DetectedFrame]:
            for frame in super().finish():
                yield replace(frame, probability=0.4 * frame.probability)

    monkeypatch.setattr("megaasr.stream.session.OnlineSpeechDetector", Doubtful)


@pytest.mark.usefixtures("doubtful_detector")
def test_what_may_be_speech_is_decoded_once(asr: MegaASR, speech: NDArray[np.float32]) -> None:
    events = run(open_stream(asr), speech)
    kinds = [type(event) for event in events]
    assert kinds == [SpeechStarted, SpeechStopped, Final] * len(finals(events))
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    text = " ".join(final.segment.text for final in finals(events))
    assert "There are fifty-six monkeys near the nightclub." in text
    assert run(open_stream(asr), speech, 320) == events


@pytest.mark.usefixtures("doubtful_detector")
def test_doubtful_text_that_fails_a_check_is_not_shown(speech: NDArray[np.float32]) -> None:
    strict = ReliabilityOptions(thresholds=CheckThresholds(low_logprob=0.0))
    asr = MegaASR.from_pretrained("tiny", device="cpu", reliability=strict)
    assert run(open_stream(asr), speech) == []
