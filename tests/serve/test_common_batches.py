"""Live audio and recordings of all clients are decoded in common batches, live audio first."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from megaasr.model.interface import Recognition, Request
from running_server import CLIPS

pytest.importorskip("fastapi", reason="the server is not installed")
from websockets.sync.client import connect

from megaasr.serve.http_server import HttpServer

COMPLETED = "conversation.item.input_audio_transcription.completed"


class Recorder:
    """Stands before the model of a server, and lets the first batch wait."""

    def __init__(self, server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
        loaded = server.services.model._loading.loaded
        assert loaded is not None
        self._recognize = loaded.shared.model.recognize
        self.batches: list[list[float]] = []
        self.permitted = threading.Event()
        monkeypatch.setattr(loaded.shared.model, "recognize", self.recognize)

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        self.batches.append([request.samples.size / 16000 for request in requests])
        assert self.permitted.wait(60)
        return self._recognize(requests)


def post(server: HttpServer, path: Path) -> str:
    with path.open("rb") as file:
        address = f"{server.url}/v1/audio/transcriptions"
        response = httpx.post(address, files={"file": file}, timeout=120)
    return str(response.raise_for_status().json()["text"])


def live(server: HttpServer, path: Path) -> str:
    samples, rate = soundfile.read(path, dtype="int16")
    samples = np.append(samples, np.zeros(rate // 10, dtype=np.int16))
    settings = {"format": {"type": "audio/pcm", "rate": rate}, "turn_detection": None}
    session = {"type": "transcription", "audio": {"input": settings}}
    url = server.url.replace("http", "ws", 1) + "/v1/realtime?intent=transcription"
    with connect(url) as socket:
        socket.send(json.dumps({"type": "session.update", "session": session}))
        audio = base64.b64encode(samples.tobytes()).decode()
        socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
        socket.send('{"type": "input_audio_buffer.commit"}')
        while True:
            event = json.loads(socket.recv(timeout=120))
            if event["type"] == COMPLETED:
                return str(event["transcript"])


def test_live_audio_and_recordings_share_a_batch(
    serve: Callable[..., HttpServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(max_requests=4)
    clips = sorted(CLIPS.glob("*-clean.flac"), key=lambda path: soundfile.info(path).duration)
    alone = [post(server, clip) for clip in clips]
    recorder = Recorder(server, monkeypatch)

    def wait_for(waiting: int) -> None:
        for _ in range(6000):
            if server.services.model.use().waiting == waiting and recorder.batches:
                return
            time.sleep(0.01)
        raise AssertionError("they do not wait for the model")

    with ThreadPoolExecutor(4) as pool:
        results: list[Future[Any]] = [pool.submit(post, server, clips[1])]
        wait_for(0)  # it is being decoded, and the others have to wait
        results.append(pool.submit(post, server, clips[0]))
        wait_for(1)
        results.append(pool.submit(live, server, clips[-1]))
        wait_for(2)
        recorder.permitted.set()
        texts = [result.result(120) for result in results]
    assert texts == [alone[1], alone[0], alone[-1]]
    assert len(recorder.batches) == 2
    first, second = recorder.batches[1]
    assert first > second  # the live one, although it came later
