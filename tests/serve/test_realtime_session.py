"""A realtime session without a connection: turns, changed settings, failures, and its replay."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from megaasr import MegaASR
from megaasr.errors import ModelError
from megaasr.serve.realtime_protocol import SessionSettings
from megaasr.serve.realtime_session import RealtimeSession
from megaasr.serve.session_journal import JournaledSession
from megaasr.stream.options import StreamOptions
from megaasr.stream.session import StreamSession
from running_server import CLIPS

RATE = 16_000
DELTA = "conversation.item.input_audio_transcription.delta"
COMPLETED = "conversation.item.input_audio_transcription.completed"
COMMIT = '{"type": "input_audio_buffer.commit"}'
CLEARED = "input_audio_buffer.cleared"
CLEAR = '{"type": "input_audio_buffer.clear"}'
Events = list[dict[str, Any]]
Run = Callable[[list[str]], Events]


@pytest.fixture(scope="module")
def asr() -> MegaASR:
    return MegaASR.from_pretrained("tiny")


@pytest.fixture(scope="module")
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def open_session(asr: MegaASR, executor: ThreadPoolExecutor) -> Callable[[], RealtimeSession]:
    def open_stream(settings: SessionSettings) -> StreamSession:
        audio = settings.audio.input
        options = StreamOptions(audio.format.sample_rate, partials=settings.has_partials)
        return StreamSession(asr, options)

    return lambda: RealtimeSession("session_of_a_test", open_stream, executor)


@pytest.fixture
def run(open_session: Callable[[], RealtimeSession]) -> Run:
    """Returns all events of a session that receives events of a client."""

    def run(received: list[str]) -> Events:
        async def session() -> Events:
            session = open_session()
            for text in received:
                await session.receive(text)
            return await ended(session, answers(received))

        return asyncio.run(session())

    return run


async def ended(session: RealtimeSession, count: int) -> Events:
    """Return the events of a session when it has answered a number of updates and clearings."""
    async for _ in session.events(0):
        events = list(session._events)
        if sum(event["type"] in ("session.updated", CLEARED) for event in events) == count:
            break
    await session.close()
    return events


def answers(received: list[str]) -> int:
    kinds = [json.loads(text)["type"] for text in received]
    assert kinds[-1] in ("session.update", "input_audio_buffer.clear")
    return sum(kind in ("session.update", "input_audio_buffer.clear") for kind in kinds)


def update(*, turns: bool, **session: Any) -> str:
    settings: dict[str, Any] = {"format": {"type": "audio/pcm", "rate": RATE}}
    settings["turn_detection"] = {"type": "server_vad"} if turns else None
    session["audio"] = {"input": {**settings, **session.pop("audio_input", {})}}
    return json.dumps({"type": "session.update", "session": session})


def speech(number: int, silence_s: float = 1.0) -> NDArray[np.int16]:
    samples = soundfile.read(CLIPS / f"{number}-clean.flac", dtype="int16")[0]
    return np.append(samples, np.zeros(round(silence_s * RATE), np.int16))


def frames(samples: NDArray[np.int16], size: int = RATE // 2) -> list[str]:
    parts = [samples[start : start + size] for start in range(0, len(samples), size)]
    audio = [base64.b64encode(part.astype("<i2").tobytes()).decode() for part in parts]
    return [json.dumps({"type": "input_audio_buffer.append", "audio": text}) for text in audio]


def of_kind(events: Events, kind: str) -> Events:
    return [event for event in events if event["type"] == kind]


def texts(events: Events) -> list[str]:
    return [event["transcript"] for event in of_kind(events, COMPLETED)]


def test_the_times_of_a_turn_are_those_of_the_session(run: Run) -> None:
    first, second = speech(5), speech(6)
    events = run(
        [update(turns=False), *frames(first), COMMIT, *frames(second), COMMIT, CLEAR],
    )
    turns = of_kind(events, COMPLETED)
    bounds = [0.0, len(first) / RATE, (len(first) + len(second)) / RATE]
    for turn, begin, end in zip(turns, bounds[:-1], bounds[1:], strict=True):
        assert turn["audio_end_ms"] == pytest.approx(1000 * end, abs=1)
        for segment in turn["segments"]:
            assert begin <= segment["chunk_start"] <= segment["start"]
            assert segment["end"] <= segment["chunk_end"] <= end
            assert all(begin <= w["start"] <= w["end"] <= end for w in segment["words"])


def test_settings_that_change_in_a_turn_lose_nothing_of_it(run: Run) -> None:
    samples = speech(5)
    (undivided,) = texts(run([update(turns=False), *frames(samples), COMMIT, CLEAR]))
    prompt = {"transcription": {"prompt": "zoo"}}
    changed = update(turns=False, audio_input=prompt)
    events = run([update(turns=False), *frames(samples), changed, COMMIT, CLEAR])
    assert texts(events) == [undivided]
    (turn,) = of_kind(events, COMPLETED)
    assert turn["segments"][-1]["end"] <= len(samples) / RATE
    assert turn["usage"]["seconds"] == pytest.approx(len(samples) / RATE, abs=0.001)
    assert not of_kind(events, "error")


@pytest.mark.parametrize("turns", [True, False])
def test_an_utterance_is_completed_once_when_the_detection_of_turns_changes(
    run: Run, turns: bool
) -> None:
    part = speech(5)[: 2 * RATE]
    events = run(
        [
            update(turns=turns),
            *frames(part),
            update(turns=not turns),
            *frames(speech(6, 0.2)),
            COMMIT,
            CLEAR,
        ]
    )
    items = [event["item_id"] for event in of_kind(events, COMPLETED)]
    assert len(items) == len(set(items)) == 2
    assert items == [e["item_id"] for e in of_kind(events, "input_audio_buffer.committed")]
    assert all(texts(events))
    assert not of_kind(events, "error")


def test_settings_that_concern_the_events_alone_do_not_end_an_utterance(run: Run) -> None:
    samples = speech(5)
    half = len(samples) // 2
    quiet = json.dumps({"type": "session.update", "session": {"partials": False}})
    events = run(
        [update(turns=True), *frames(samples[:half]), quiet, *frames(samples[half:]), COMMIT, CLEAR]
    )
    assert texts(events) == texts(run([update(turns=True), *frames(samples), COMMIT, CLEAR]))


def test_a_commit_without_speech_has_an_empty_item(run: Run) -> None:
    silence = frames(np.zeros(2 * RATE, np.int16))
    spoken = frames(speech(5, 0.2))
    events = run([update(turns=True), *silence, COMMIT, COMMIT, *spoken, COMMIT, CLEAR])
    assert [bool(text) for text in texts(events)] == [False, True]
    items = [event["item_id"] for event in of_kind(events, COMPLETED)]
    committed = of_kind(events, "input_audio_buffer.committed")
    assert [event["item_id"] for event in committed] == items
    assert [event["previous_item_id"] for event in committed] == [None, items[0]]
    (error,) = of_kind(events, "error")  # of the second commit
    assert error["error"]["code"] == "input_audio_buffer_commit_empty"


def test_words_come_with_logprobs(run: Run) -> None:
    include = ["item.input_audio_transcription.logprobs"]
    (turn,) = of_kind(
        run([update(turns=False, include=include), *frames(speech(5)), COMMIT, CLEAR]), COMPLETED
    )
    words = [w["text"] for segment in turn["segments"] for w in segment["words"]]
    assert [entry["token"] for entry in turn["logprobs"]] == words
    assert all(entry["logprob"] <= 0 for entry in turn["logprobs"])


def test_a_turn_can_be_committed_again_after_a_failure_of_the_model(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode_chunk = MegaASR.decode_chunk
    failures = [ModelError("out of memory")]

    def fail_once(self: MegaASR, *arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return decode_chunk(self, *arguments, **options)

    samples = speech(5, 0.0)
    monkeypatch.setattr(MegaASR, "decode_chunk", fail_once)
    events = run([update(turns=False), *frames(samples), COMMIT, COMMIT, CLEAR])
    assert [event["error"]["code"] for event in of_kind(events, "error")] == ["model_error"]
    (turn,) = of_kind(events, COMPLETED)
    assert turn["transcript"]
    assert turn["usage"]["seconds"] == pytest.approx(len(samples) / RATE, abs=0.001)


def summary(events: Events) -> tuple[Counter[str], dict[str, str]]:
    """Return how often each event came, deltas apart, and the joined deltas of the items."""
    counts: Counter[str] = Counter()
    joined: dict[str, str] = {}
    for event in events:
        item = event.get("item_id") or event.get("item", {}).get("id", "")
        if event["type"] == DELTA:
            joined[item] = joined.get(item, "") + event["delta"]
        else:
            previous = event.get("previous_item_id", "-")
            counts[f"{event['type']} {item} {previous}"] += 1
    return counts, joined


def volatile(events: Events) -> list[str]:
    return [event["volatile"] for event in of_kind(events, DELTA) if event.get("volatile")]


@pytest.mark.parametrize(
    ("turns", "every"),
    [(True, 4), pytest.param(True, 1, marks=pytest.mark.slow), (False, 1)],
)
def test_a_replay_after_any_event_loses_nothing_and_doubles_nothing(
    run: Run, open_session: Callable[[], RealtimeSession], turns: bool, every: int
) -> None:
    part = frames(speech(5)) if turns else frames(speech(5)[: 2 * RATE])
    received = [COMMIT, update(turns=turns), *part, COMMIT, *part[:4], COMMIT, CLEAR]
    undisturbed = run(received)
    assert of_kind(undisturbed, "error")  # of the first commit

    async def replayed(sent: Events) -> Events:
        session = open_session()
        await session.replay(JournaledSession(received, sent))
        return await ended(session, answers(received))

    for count in range(0, len(undisturbed), every):
        events = asyncio.run(replayed(undisturbed[:count]))
        assert summary(events) == summary(undisturbed), undisturbed[count - 1]
        assert volatile(events) == volatile(undisturbed), undisturbed[count - 1]
