"""`/v1/realtime` through the official client: turns, formats, errors, and lost connections."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from megaasr.audio.files import resample
from megaasr.model.hub import find_model
from megaasr.serve import model_loading
from megaasr.serve.access import add_key
from megaasr.serve.realtime_protocol import MAX_FRAME_BYTES, AudioFormat, unused_fields
from megaasr.serve.session_journal import SessionJournal, read_journal
from running_server import CLIPS, running

if TYPE_CHECKING:
    from megaasr.serve.http_server import HttpServer

openai = pytest.importorskip("openai")
from openai.types.realtime import (  # noqa: E402
    ConversationItemAdded,
    ConversationItemDone,
    InputAudioBufferCommittedEvent,
    InputAudioBufferSpeechStartedEvent,
    InputAudioBufferSpeechStoppedEvent,
)
from openai.types.realtime.conversation_item_input_audio_transcription_completed_event import (  # noqa: E402
    ConversationItemInputAudioTranscriptionCompletedEvent,
)
from openai.types.realtime.conversation_item_input_audio_transcription_delta_event import (  # noqa: E402
    ConversationItemInputAudioTranscriptionDeltaEvent,
)
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

DELTA = "conversation.item.input_audio_transcription.delta"
COMPLETED = "conversation.item.input_audio_transcription.completed"
TYPES = {
    "input_audio_buffer.speech_started": InputAudioBufferSpeechStartedEvent,
    "input_audio_buffer.speech_stopped": InputAudioBufferSpeechStoppedEvent,
    "input_audio_buffer.committed": InputAudioBufferCommittedEvent,
    "conversation.item.added": ConversationItemAdded,
    "conversation.item.done": ConversationItemDone,
    DELTA: ConversationItemInputAudioTranscriptionDeltaEvent,
    COMPLETED: ConversationItemInputAudioTranscriptionCompletedEvent,
}


def sentences(*names: str) -> NDArray[np.int16]:
    """Clips with a second of silence after each, 16 kHz."""
    parts = [
        np.append(soundfile.read(CLIPS / f"{name}-clean.flac", dtype="int16")[0], np.zeros(16000))
        for name in names
    ]
    return np.concatenate(parts).astype(np.int16)


def frames(samples: NDArray[np.int16], size: int = 3200) -> Iterator[str]:
    data = samples.astype("<i2").tobytes()
    for start in range(0, len(data), size):
        yield base64.b64encode(data[start : start + size]).decode()


def appended(audio: str, **more: Any) -> str:
    return json.dumps({"type": "input_audio_buffer.append", "audio": audio, **more})


def updated(rate: int = 16000, **audio_input: Any) -> str:
    settings = {"format": {"type": "audio/pcm", "rate": rate}, **audio_input}
    session = {"type": "transcription", "audio": {"input": settings}}
    return json.dumps({"type": "session.update", "session": session})


def address(server: HttpServer) -> str:
    return server.url.replace("http", "ws", 1) + "/v1/realtime?intent=transcription"


def until(socket: Any, kind: str, count: int = 1) -> list[dict[str, Any]]:
    """Return events up to the last of a number of events of a kind."""
    events: list[dict[str, Any]] = []
    while sum(event["type"] == kind for event in events) < count:
        events.append(json.loads(socket.recv(timeout=120)))
        assert events[-1]["type"] != "error", events[-1]
    return events


def until_closed(socket: Any) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    with suppress(ConnectionClosed):
        while True:
            events.append(json.loads(socket.recv(timeout=60)))
    return events


def texts(events: list[dict[str, Any]]) -> list[str]:
    return [event["transcript"] for event in events if event["type"] == COMPLETED]


@pytest.fixture(scope="module")
def expected(server: HttpServer) -> list[str]:
    """The texts of two sentences, in one undisturbed session."""
    with connect(address(server)) as socket:
        socket.send(updated())
        for frame in frames(sentences("1", "2")):
            socket.send(appended(frame))
        return texts(until(socket, COMPLETED, 2))


def test_the_official_client_gets_the_events_in_order(server: HttpServer) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused")
    events: list[Any] = []
    with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        connection.session.update(
            session={
                "type": "transcription",
                "audio": {
                    "input": {
                        "format": {"type": "audio/pcm", "rate": 24000},
                        "transcription": {"model": "whisper-1", "language": "en"},
                        "turn_detection": {"type": "server_vad", "silence_duration_ms": 400},
                    }
                },
            }
        )
        speech = sentences("1").astype(np.float32) / 32768
        for frame in frames((resample(speech, 16000, 24000) * 32767).astype(np.int16)):
            connection.input_audio_buffer.append(audio=frame)
        for event in connection:
            events.append(event)
            if event.type == COMPLETED:
                break
    kinds = [event.type for event in events if event.type != DELTA]
    assert kinds == [
        "session.created",
        "session.updated",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        COMPLETED,
    ]
    for event in events:
        if event.type in TYPES:
            TYPES[event.type].model_validate(event.to_dict())
    deltas = "".join(event.delta for event in events if event.type == DELTA)
    assert deltas == events[-1].transcript == "There are fifty-six monkeys near the nightclub."
    numbers = [int(event.event_id.removeprefix("event_")) for event in events]
    assert numbers == list(range(len(events)))


def test_the_asynchronous_client_commits_itself(server: HttpServer, expected: list[str]) -> None:
    async def run() -> list[Any]:
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="unused")
        query = {"intent": "transcription"}
        async with client.realtime.connect(extra_query=query) as connection:
            await connection.send(json.loads(updated(turn_detection=None)))
            for frame in frames(sentences("1", "2")):
                await connection.input_audio_buffer.append(audio=frame)
            await connection.input_audio_buffer.commit()
            events = []
            async for event in connection:
                events.append(event)
                if event.type == COMPLETED:
                    return events
        return events

    events = asyncio.run(run())
    assert events[-1].transcript == " ".join(expected)
    assert not any("speech" in event.type for event in events)
    committed = [event.item_id for event in events if event.type.endswith("committed")]
    assert committed == [events[-1].item_id]


@pytest.mark.parametrize(("kind", "law"), [("audio/pcmu", "ULAW"), ("audio/pcma", "ALAW")])
def test_g711_is_decoded_as_libsndfile_does(kind: Any, law: str, tmp_path: Path) -> None:
    path = tmp_path / "all.wav"
    levels = (np.arange(-32768, 32768, 7) / 32768).astype(np.float64)
    soundfile.write(path, levels, 8000, subtype=law)
    decoded = soundfile.read(path, dtype="int16")[0]
    data = path.read_bytes()
    encoded = data[data.index(b"data") + 8 :][: len(decoded)]
    frame = AudioFormat(type=kind).decode(base64.b64encode(encoded).decode())
    np.testing.assert_array_equal(frame, decoded)


def test_mistakes_are_events_and_the_session_goes_on(
    server: HttpServer, expected: list[str]
) -> None:
    with connect(address(server)) as socket:
        json.loads(socket.recv())
        for text, code in (
            ("no JSON", "invalid_event"),
            ('{"type": "unknown"}', "invalid_event"),
            (appended("AAA"), "invalid_audio"),
            (appended(base64.b64encode(b"abc").decode()), "invalid_audio"),
            (updated(rate=11025), "invalid_value"),
            (updated(transcription={"prompt": "ab " * 4000}), "invalid_value"),
            (updated(transcription={"language": "klingon"}), "invalid_value"),
            (updated(transcription={"languages": ["zz"]}), "invalid_value"),
            (updated(transcription={"model": "nonsense"}), "model_not_found"),
            (updated(transcription={"langage": "en"}), "unknown_field"),
            ('{"type": "session.update", "session": {"parials": false}}', "unknown_field"),
            ('{"type": "session.update", "session": {"include": 5}}', "invalid_event"),
            (appended("AAAA", sequence=5), "frames_missing"),
            ('{"type": "input_audio_buffer.commit"}', "input_audio_buffer_commit_empty"),
        ):
            socket.send(text)
            error = json.loads(socket.recv(timeout=60))
            assert (error["type"], error["error"]["code"]) == ("error", code)
        socket.send(updated(transcription=None, noise_reduction={"type": "near_field"}))
        answer = until(socket, "session.updated")[-1]
        assert answer["ignored"] == ["audio.input.transcription", "audio.input.noise_reduction"]
        assert answer["session"]["audio"]["input"]["transcription"] is not None
        socket.send(b"binary")
        assert json.loads(socket.recv(timeout=60))["error"]["code"] == "invalid_event"
        socket.send(updated())
        for frame in frames(sentences("1")):
            socket.send(appended(frame))
        assert texts(until(socket, COMPLETED)) == expected[:1]
        socket.send('{"type": "input_audio_buffer.clear"}')
        until(socket, "input_audio_buffer.cleared")


def test_a_route_that_the_model_does_not_have_is_refused_with_the_settings(
    serve: Callable[..., HttpServer], random_checkpoint: Path
) -> None:
    with connect(address(serve(model=str(random_checkpoint)))) as socket:
        json.loads(socket.recv())
        socket.send('{"type": "session.update", "session": {"route": "robust"}}')
        error = json.loads(socket.recv(timeout=60))["error"]
        assert (error["param"], error["code"]) == ("route", "invalid_value")
        socket.send('{"type": "session.update", "session": {"route": "base"}}')
        assert until(socket, "session.updated")[-1]["session"]["route"] == "base"


def test_the_fields_of_openais_clients_are_accepted() -> None:
    detection = {"type": "server_vad", "create_response": True, "interrupt_response": True}
    detection |= {"idle_timeout_ms": None, "prefix_padding_ms": 300, "eagerness": "auto"}
    audio_input = {
        "format": {"type": "audio/pcm", "rate": 24000},
        "noise_reduction": None,
        "transcription": {"model": "whisper-1", "language": "en", "delay": "low", "prompt": "a"},
        "turn_detection": detection,
    }
    conversation = "instructions max_output_tokens model output_modalities parallel_tool_calls"
    names = [*conversation.split(), "prompt", "reasoning", "tool_choice", "tools", "tracing"]
    unused = unused_fields(
        {
            "type": "transcription",
            "audio": {"input": audio_input, "output": {"voice": "alloy"}},
            "include": ["item.input_audio_transcription.logprobs"],
            **dict.fromkeys([*names, "truncation"]),
        }
    )
    assert "audio.input.turn_detection.create_response" in unused
    assert not {"include", "audio.input.format", "audio.input.turn_detection"} & set(unused)


def test_a_frame_may_be_as_long_as_the_docs_say(server: HttpServer) -> None:
    sizes = (MAX_FRAME_BYTES, MAX_FRAME_BYTES + 2)
    long, too_long = (base64.b64encode(bytes(size)).decode() for size in sizes)
    with connect(address(server), max_size=None) as socket:
        socket.send(updated(turn_detection=None))
        until(socket, "session.updated")
        socket.send(appended(too_long))
        assert json.loads(socket.recv(timeout=60))["error"]["code"] == "invalid_audio"
        socket.send(appended(long, sequence=1))
        socket.send(appended("AAAA", sequence=9))
        error = json.loads(socket.recv(timeout=60))["error"]
        assert error["message"].startswith("frame 9 follows frame 1")


def test_a_lost_connection_is_resumed_and_nothing_is_lost_or_doubled(
    server: HttpServer, expected: list[str]
) -> None:
    sent = list(frames(sentences("1", "2")))
    received: list[dict[str, Any]] = []
    token, accepted = "", 0
    for part in range(4):  # four connections, three of which break off
        url = address(server)
        if token:
            last = max(int(event["event_id"][6:]) for event in received)
            url += f"&session={token}&after={last}"
        socket = connect(url).__enter__()
        hello = json.loads(socket.recv(timeout=60))
        token, accepted = hello["resume"]["token"], hello["resume"]["frames"]
        received.append(hello)
        if part == 0:
            socket.send(updated())
            received += until(socket, "session.updated")
        again = max(0, accepted - 3)  # frames that arrived are not taken twice
        end = len(sent) if part == 3 else len(sent) * (part + 1) // 4
        for number in range(again, end):
            socket.send(appended(sent[number], sequence=number + 1))
        if part == 3:
            while len(texts(received)) < 2:
                received.append(json.loads(socket.recv(timeout=120)))
        socket.socket.close() if part < 3 else socket.close()
    assert texts(received) == expected
    numbered = [int(event["event_id"][6:]) for event in received if event["event_id"] != "event_0"]
    assert numbered == list(range(1, len(numbered) + 1))


def test_tokens_are_needed_and_ended_sessions_are_gone(server: HttpServer) -> None:
    sessions = server.services.realtime
    before = sessions.count
    with connect(address(server)) as socket:
        token = json.loads(socket.recv())["resume"]["token"]
    for _ in range(3000):
        if sessions.count == before:
            break
        time.sleep(0.02)
    for wrong in (token, "sess_unknown"):  # the first was closed on purpose
        with pytest.raises(InvalidStatus) as caught, connect(f"{address(server)}&session={wrong}"):
            pass
        assert caught.value.response.status_code == 404
        body = json.loads(caught.value.response.body or b"{}")
        assert body["error"]["code"] == "session_not_found"


def test_a_text_before_a_failure_of_the_model_is_not_lost(
    serve: Callable[..., HttpServer], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    loaded = server.services.model._loading.loaded
    assert loaded is not None
    recognize = loaded.shared.model.recognize
    calls = 0

    def fail_once(requests: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("the device was lost")
        return recognize(requests)

    monkeypatch.setattr(loaded.shared.model, "recognize", fail_once)
    settings = {"type": "transcription", "partials": False}
    with connect(address(server)) as socket:
        socket.send(updated())
        socket.send(json.dumps({"type": "session.update", "session": settings}))
        for frame in frames(sentences("1", "2"), 1 << 20):  # both sentences at once
            socket.send(appended(frame))
        events = []
        while not events or events[-1]["type"] != "error":
            events.append(json.loads(socket.recv(timeout=120)))
        assert texts(events) == expected[:1]
        socket.send('{"type": "input_audio_buffer.commit"}')  # it is tried again
        assert texts(until(socket, COMPLETED)) == expected[1:]


def test_audio_waits_for_a_model_that_cannot_be_loaded_yet(
    serve: Callable[..., HttpServer],
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_loading, "FIRST_RETRY_S", 0.2)
    server = serve(model=str(tmp_path / "model"), preload=False)
    while server.services.model.status.state != "retrying":
        time.sleep(0.02)
    with connect(address(server)) as socket:
        socket.send(updated())
        for frame in frames(sentences("1")):
            socket.send(appended(frame))
        events = []
        while not events or events[-1]["type"] != "error":
            events.append(json.loads(socket.recv(timeout=60)))
        assert events[-1]["error"]["code"] == "model_not_loaded"
        shutil.copytree(find_model("tiny"), tmp_path / "copy")
        (tmp_path / "copy").rename(tmp_path / "model")
        assert texts(until(socket, COMPLETED)) == expected[:1]


def test_events_that_do_not_exist_cannot_be_asked_for(server: HttpServer) -> None:
    with connect(address(server)) as first:
        token = json.loads(first.recv())["resume"]["token"]
        first.send(updated())
        last = int(until(first, "session.updated")[-1]["event_id"][6:])
        url = f"{address(server)}&session={token}&after="
        with pytest.raises(InvalidStatus) as caught, connect(f"{url}{last + 1}"):
            pass
        assert caught.value.response.status_code == 409
        first.send('{"type": "input_audio_buffer.clear"}')  # it has not been replaced
        until(first, "input_audio_buffer.cleared")
        with connect(f"{url}{last}") as second:
            json.loads(second.recv(timeout=60))
            until(second, "input_audio_buffer.cleared")


def test_a_revoked_key_ends_open_sessions(serve: Callable[..., HttpServer], tmp_path: Path) -> None:
    keys = {name: add_key(tmp_path / "keys", name) for name in ("ann", "bob")}
    headers = {name: {"Authorization": f"Bearer {key}"} for name, key in keys.items()}
    server = serve(api_keys=tmp_path / "keys")
    lines = (tmp_path / "keys").read_text(encoding="utf-8").splitlines(keepends=True)
    clear = '{"type": "input_audio_buffer.clear"}'
    with (
        connect(address(server), additional_headers=headers["ann"]) as ann,
        connect(address(server), additional_headers=headers["bob"]) as bob,
    ):
        (tmp_path / "keys").write_text("no key\n", encoding="utf-8")  # while it is edited
        for socket in (ann, bob):
            socket.send(clear)
            until(socket, "input_audio_buffer.cleared")
        (tmp_path / "keys").write_text(lines[1], encoding="utf-8")
        ann.send(clear)
        assert not until_closed(ann)
        assert ann.close_code == 1008
        bob.send(clear)
        until(bob, "input_audio_buffer.cleared")


def test_sessions_of_others_cannot_be_resumed(
    serve: Callable[..., HttpServer], tmp_path: Path
) -> None:
    keys = {name: add_key(tmp_path / "keys", name) for name in ("ann", "bob")}
    headers = {name: {"Authorization": f"Bearer {key}"} for name, key in keys.items()}
    settings: dict[str, Any] = {"api_keys": tmp_path / "keys", "data_dir": tmp_path / "data"}
    server = serve(**settings)
    with connect(address(server), additional_headers=headers["ann"]) as socket:
        token = json.loads(socket.recv())["resume"]["token"]
        url = f"{address(server)}&session={token}"
        with (
            pytest.raises(InvalidStatus) as caught,
            connect(url, additional_headers=headers["bob"]),
        ):
            pass
        assert caught.value.response.status_code == 404
        socket.send('{"type": "input_audio_buffer.clear"}')  # nobody has replaced her
        until(socket, "input_audio_buffer.cleared")


class _Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def test_a_websocket_that_is_refused_is_no_error_of_the_server(server: HttpServer) -> None:
    records = _Records()
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(records)
    try:
        with pytest.raises(InvalidStatus), connect(f"{address(server)}&session=unknown"):
            pass
        with connect(address(server)) as socket:  # handled by the server after the other
            socket.recv(timeout=60)
    finally:
        logger.removeHandler(records)
    assert not [message for message in records.messages if "handshake" in message]


def test_websockets_that_are_refused_have_openais_errors(server: HttpServer) -> None:
    root = server.url.replace("http", "ws", 1)
    for path, status, code in (
        ("/v1/realtime?after=-1", 422, "invalid_value"),
        ("/v1/realtime?after=" + "9" * 5000, 422, "invalid_value"),
        ("/v1/realtime?intent=conversation", 400, "invalid_value"),
        ("/v1/models", 404, "unknown_url"),
        ("/nothing", 404, "unknown_url"),
    ):
        with pytest.raises(InvalidStatus) as caught, connect(root + path):
            pass
        response = caught.value.response
        assert response.status_code == status, path
        assert json.loads(response.body or b"{}")["error"]["code"] == code, path
        assert response.headers["x-request-id"].startswith("req_")


def test_a_connection_that_is_only_half_lost_is_replaced(server: HttpServer) -> None:
    with connect(address(server)) as first:
        token = json.loads(first.recv())["resume"]["token"]
        with connect(f"{address(server)}&session={token}") as second:
            assert json.loads(second.recv())["type"] == "session.updated"
            with pytest.raises(ConnectionClosed):
                first.recv(timeout=60)
            second.send('{"type": "input_audio_buffer.clear"}')
            assert json.loads(second.recv(timeout=60))["type"] == "input_audio_buffer.cleared"


def test_keys_may_come_as_a_subprotocol(serve: Callable[..., HttpServer], tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys", "ann")
    server = serve(api_keys=tmp_path / "keys", max_sessions=1)
    with pytest.raises(InvalidStatus) as caught, connect(address(server)):
        pass
    assert caught.value.response.status_code == 401
    protocols: Any = ["realtime", f"openai-insecure-api-key.{key}"]
    with connect(address(server), subprotocols=protocols) as socket:
        assert socket.subprotocol == "realtime"
        with (
            pytest.raises(InvalidStatus) as caught,
            connect(address(server), subprotocols=protocols),
        ):
            pass
        assert caught.value.response.status_code == 429


def test_a_torn_journal_is_readable(tmp_path: Path) -> None:
    journal = SessionJournal(tmp_path / "s", 1000)
    journal.add_received('{"type":\n "a"}')
    journal.add_sent({"event_id": "event_1"})
    journal.close()
    with (tmp_path / "s" / "received.jsonl").open("ab") as file:
        file.write(b'{"type": "b')  # the process was killed
    journaled = read_journal(tmp_path / "s")
    assert journaled is not None
    assert journaled.received == ['{"type": "a"}\n']
    again = SessionJournal(tmp_path / "s", 1000)
    again.add_received('{"type": "c"}')
    journaled = read_journal(tmp_path / "s")
    assert journaled is not None
    assert [json.loads(line)["type"] for line in journaled.received] == ["a", "c"]


def test_a_full_journal_keeps_the_latest_events_without_the_audio(tmp_path: Path) -> None:
    journal = SessionJournal(tmp_path / "s", 1000)
    journal.add_received('{"type": "a"}')
    for number in range(30):
        journal.add_sent({"event_id": f"event_{number}"})
    assert journal.is_complete
    journal.add_received(json.dumps({"audio": "A" * 1000}))  # more than is allowed
    assert not journal.is_complete
    journal.add_received('{"type": "b"}')
    for number in range(30, 60):
        journal.add_sent({"event_id": f"event_{number}"})
    journal.close()
    assert sum(file.stat().st_size for file in (tmp_path / "s").iterdir()) < 1100
    again = SessionJournal(tmp_path / "s", 1000)  # after the end of the process
    assert not again.is_complete
    again.add_sent({"event_id": "event_60"})
    journaled = read_journal(tmp_path / "s")
    assert journaled is not None
    assert (journaled.received, journaled.is_complete) == ([], False)
    numbers = [int(event["event_id"][6:]) for event in journaled.sent]
    assert numbers == list(range(61 - len(numbers), 61))
    assert len(numbers) > 10


def test_a_full_disk_ends_the_journal_and_nothing_else(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("only Linux has a device that is always full")
    journal = SessionJournal(tmp_path / "s", 1000)
    journal._files["sent.jsonl"] = full.open("ab", buffering=0)
    journal.add_received('{"type": "a"}')
    journal.add_sent({"event_id": "event_1"})
    assert not journal.is_complete
    assert not (tmp_path / "s").exists()
    journal.add_received('{"type": "b"}')
    journal.add_sent({"event_id": "event_2"})
    journal.close()


def test_a_session_beyond_its_journal_loses_no_text_and_says_what_to_send_again(
    tmp_path: Path, expected: list[str]
) -> None:
    settings: dict[str, Any] = {"data_dir": tmp_path, "max_journal_mb": 0.2}
    first, second = (list(frames(sentences(name))) for name in ("1", "2"))
    with running(**settings) as server, connect(address(server)) as socket:
        resume = json.loads(socket.recv(timeout=60))["resume"]
        assert resume["after_restart"] is True
        socket.send(updated())
        for frame in first:
            socket.send(appended(frame))
        last_received = int(until(socket, "session.updated")[-1]["event_id"][6:])
        until(socket, COMPLETED)  # the client does not get it, let us say
        for frame in second[: len(second) // 2]:
            socket.send(appended(frame))
        full = until(socket, "session.journal_full")[-1]
        assert full["resume"] == {"after_restart": False}
        socket.socket.close()  # it is not ended, but lost
    with running(**settings) as server:
        url = f"{address(server)}&session={resume['token']}&after={last_received}"
        with connect(url) as socket:
            assert json.loads(socket.recv(timeout=60))["resume"]["after_restart"] is False
            received = until_closed(socket)
            assert socket.close_code == 4001
        assert texts(received) == expected[:1]
        numbers = [int(event["event_id"][6:]) for event in received]
        assert numbers == list(range(last_received + 1, last_received + 1 + len(numbers)))
        error = received[-1]["error"]
        assert error["code"] == "session_not_resumable"
        seconds = float(re.search(r"from ([0-9.]+) s", error["message"])[1])  # type: ignore[index]
        assert 1 < seconds <= len(first) / 10
        samples = sentences("1", "2")[round(seconds * 16000) :]
        with connect(address(server)) as socket:
            socket.send(updated())
            for frame in frames(samples):
                socket.send(appended(frame))
            assert texts(until(socket, COMPLETED)) == expected[1:]


def test_a_session_is_not_continued_by_another_model(tmp_path: Path, expected: list[str]) -> None:
    first, second = (list(frames(sentences(name))) for name in ("1", "2"))
    with running(data_dir=tmp_path) as server, connect(address(server)) as socket:
        token = json.loads(socket.recv(timeout=60))["resume"]["token"]
        socket.send(updated())
        for frame in [*first, *second[: len(second) // 2]]:
            socket.send(appended(frame))
        last = int(until(socket, COMPLETED)[-1]["event_id"][6:])
        socket.socket.close()  # it is not ended, but lost
    for _ in range(2):  # the client may come a second time
        with running(data_dir=tmp_path, encoder_attention="global") as server:
            url = f"{address(server)}&session={token}&after={last}"
            with connect(url) as socket:
                assert json.loads(socket.recv(timeout=60))["type"] == "session.updated"
                received = until_closed(socket)
                assert socket.close_code == 4001
            assert not texts(received)
            assert [event["type"] for event in received].count("error") == 1
            error = received[-1]["error"]
            assert error["code"] == "session_not_resumable"
            assert "another model" in error["message"]
            seconds = float(re.search(r"from ([0-9.]+) s", error["message"])[1])  # type: ignore[index]
            assert 1 < seconds <= len(first) / 10


@pytest.mark.slow
def test_a_session_survives_kill_9(tmp_path: Path, expected: list[str]) -> None:
    command = [sys.executable, "-m", "megaasr", "serve", "--model", "tiny", "--port", "0"]
    command += ["--preload", "--data-dir", str(tmp_path), "--log-level", "warning"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    sent = list(frames(sentences("1", "2")))
    received: list[dict[str, Any]] = []
    token = ""
    for part in range(2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1].replace("http", "ws", 1)
            url += "/v1/realtime?intent=transcription"
            if token:
                last = max(int(event["event_id"][6:]) for event in received)
                url += f"&session={token}&after={last}"
            with connect(url) as socket:
                hello = json.loads(socket.recv(timeout=60))
                token, accepted = hello["resume"]["token"], hello["resume"]["frames"]
                if part == 0:
                    socket.send(updated())
                end = len(sent) if part else len(sent) * 2 // 3
                for number in range(accepted, end):
                    socket.send(appended(sent[number], sequence=number + 1))
                while len(texts(received)) < part + 1:
                    received.append(json.loads(socket.recv(timeout=120)))
                if part == 0:
                    process.send_signal(signal.SIGKILL)
        finally:
            process.kill()
            process.wait(60)
    assert texts(received) == expected
