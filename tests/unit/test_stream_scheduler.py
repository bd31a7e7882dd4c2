"""Many live sessions on one model: common batches, slow readers, failures, asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import megaasr.cli
from megaasr import MegaASR
from megaasr.audio import read
from megaasr.errors import AudioFormatError, ModelBusyError, ModelError, UsageError
from megaasr.model.interface import Recognition, Request, SamplingSettings
from megaasr.stream import scheduler as scheduler_module
from megaasr.stream.asynchronous import AsyncStreamSession
from megaasr.stream.events import Event, Final, Partial, SpeechStarted
from megaasr.stream.options import StreamOptions
from megaasr.stream.scheduler import LiveStream, StreamScheduler
from megaasr.stream.session import StreamSession

CLIPS = Path(megaasr.cli.__file__).parent / "demo_clips"
RATE = 16_000


@pytest.fixture(scope="module")
def asr() -> MegaASR:
    return MegaASR.from_pretrained("tiny", device="cpu")


@pytest.fixture(scope="module")
def clips() -> list[NDArray[np.float32]]:
    """Clips with silence after them, so that they end in the stream."""
    pause = np.random.default_rng(0).normal(0, 1e-4, RATE).astype(np.float32)
    names = ("4-clean", "3-echo", "1-clean")
    return [np.concatenate([read(CLIPS / f"{name}.flac").samples, pause]) for name in names]


class Repeating:
    """Always writes the same words; counts its requests, and fails at one of a number."""

    name = "repeating"
    has_robust_route = False

    def __init__(self, fails_at: int | None = None) -> None:
        self.count, self._fails_at = 0, fails_at
        self.is_free = threading.Event()
        self.is_free.set()

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        assert self.is_free.wait(60)
        self.count += len(requests)
        if self._fails_at is not None and self.count >= self._fails_at:
            raise ModelError("out of order")
        return [Recognition("one two three four", "en", 4, False, "", -0.1) for _ in requests]

    def sample(
        self, requests: Sequence[Request], settings: SamplingSettings
    ) -> list[list[Recognition]]:
        raise NotImplementedError


def texts(events: Sequence[Event]) -> list[str]:
    return [event.segment.text for event in events if isinstance(event, Final)]


def alone(asr: MegaASR, samples: NDArray[np.float32], **options: object) -> list[Event]:
    session = StreamSession(asr, StreamOptions(**options))  # type: ignore[arg-type]
    return [*session.feed(samples), *session.finish()]


def feed_and_read(stream: LiveStream, samples: NDArray[np.float32]) -> list[Event]:
    for start in range(0, len(samples), 1_600):
        stream.feed(samples[start : start + 1_600])
    stream.finish()
    return list(stream.events())


def test_sessions_share_batches_and_have_the_text_that_they_have_alone(
    asr: MegaASR, clips: list[NDArray[np.float32]]
) -> None:
    options = StreamOptions(commit="final")
    journal: list[Event] = []
    with StreamScheduler(asr) as scheduler:
        streams = [scheduler.open(options, journal.append) for _ in clips]
        results: list[list[Event]] = [[] for _ in clips]

        def run(number: int) -> None:
            results[number] = feed_and_read(streams[number], clips[number])

        threads = [threading.Thread(target=run, args=[number]) for number in range(len(clips))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        use = scheduler.use()
    for events, clip in zip(results, clips, strict=True):
        assert texts(events) == texts(alone(asr, clip, commit="final", partials=False))
        numbers = [event.number for event in events]
        assert numbers == sorted(numbers)
    assert len(texts(journal)) == sum(len(texts(events)) for events in results)
    assert use.batches < use.requests


def test_a_slow_reader_delays_nobody_and_memory_is_bounded(
    clips: list[NDArray[np.float32]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_module, "MAX_EVENTS", 4)
    monkeypatch.setattr(scheduler_module, "MAX_WAITING_S", 3.0)
    asr = MegaASR(Repeating())
    with StreamScheduler(asr) as scheduler:
        slow, fast = scheduler.open(), scheduler.open()
        is_fed = threading.Event()

        def feed_slow() -> None:
            for _ in range(8):
                for start in range(0, len(clips[0]), 8_000):
                    slow.feed(clips[0][start : start + 8_000])
            slow.finish()
            is_fed.set()

        threading.Thread(target=feed_slow, daemon=True).start()
        assert texts(feed_and_read(fast, clips[0])) == ["one two three four"]
        assert not is_fed.wait(1)  # it waits: nobody reads its events
        assert slow.waiting_s <= 3.5
        assert texts(list(slow.events())) == ["one two three four"] * 8  # nothing final is lost
        assert is_fed.is_set()


def test_of_partial_texts_that_wait_the_last_is_kept(clips: list[NDArray[np.float32]]) -> None:
    with StreamScheduler(MegaASR(Repeating())) as scheduler:
        stream = scheduler.open(StreamOptions(step_s=0.2, commit="final"))
        for start in range(0, len(clips[0]), 8_000):
            stream.feed(clips[0][start : start + 8_000])
            while stream.waiting_s:  # so that it is never behind
                threading.Event().wait(0.01)
        stream.finish()
        while stream.is_running:
            threading.Event().wait(0.01)
        kinds = [type(event) for event in stream.events()]
    assert kinds.count(Partial) <= 1
    assert kinds[0] is SpeechStarted
    assert kinds[-1] is Final


def test_a_session_that_is_closed_leaves_the_others_alone(
    clips: list[NDArray[np.float32]],
) -> None:
    model = Repeating()
    with StreamScheduler(MegaASR(model)) as scheduler:
        leaving, staying = scheduler.open(), scheduler.open()
        model.is_free.clear()
        for stream in (leaving, staying):
            stream.feed(clips[0])
            stream.finish()
        assert isinstance(next(leaving.events()), SpeechStarted)
        closing = threading.Thread(target=leaving.close)
        closing.start()
        model.is_free.set()
        closing.join(60)
        assert not closing.is_alive()
        assert texts(list(staying.events())) == ["one two three four"]
        with pytest.raises(UsageError, match="finished"):
            leaving.feed(clips[0])


def test_a_model_that_fails_ends_the_session_after_its_events(
    clips: list[NDArray[np.float32]],
) -> None:
    with StreamScheduler(MegaASR(Repeating(fails_at=3))) as scheduler:
        stream = scheduler.open(StreamOptions(partials=False))
        stream.feed(np.concatenate([clips[0]] * 4))
        stream.finish()
        received: list[Event] = []
        with pytest.raises(ModelError, match="out of order"):
            received.extend(stream.events())
        assert texts(received) == ["one two three four"] * 2


def test_bad_input_is_refused_where_it_is_fed(clips: list[NDArray[np.float32]]) -> None:
    with StreamScheduler(MegaASR(Repeating()), max_sessions=1) as scheduler:
        stream = scheduler.open()
        with pytest.raises(AudioFormatError, match="nan"):
            stream.feed(np.full(5, np.nan, np.float32))
        with pytest.raises(UsageError, match="keeps its rate"):
            stream.feed(clips[0], 8_000)
        with pytest.raises(ModelBusyError, match="1 live sessions"):
            scheduler.open()
        assert texts(feed_and_read(stream, clips[0])) == ["one two three four"]
        scheduler.open()  # the first one has ended
    with pytest.raises(UsageError, match="at least 1"):
        StreamScheduler(MegaASR(Repeating()), max_sessions=0)


def test_the_asynchronous_session_has_the_same_events(
    asr: MegaASR, clips: list[NDArray[np.float32]]
) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.005)

    async def run() -> list[Event]:
        ticking = asyncio.create_task(tick())
        session = AsyncStreamSession(StreamSession(asr))
        events = []
        for start in range(0, len(clips[0]), 8_000):
            events += [event async for event in session.feed(clips[0][start : start + 8_000])]
        events += [event async for event in session.finish()]
        ticking.cancel()
        with pytest.raises(UsageError, match="finished"):
            session.feed(clips[0])
        return events

    assert asyncio.run(run()) == alone(asr, clips[0])
    assert ticks > 5
