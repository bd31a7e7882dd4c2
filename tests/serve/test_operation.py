"""Limits, leaving clients, logs, metrics, and shutting down."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile

from megaasr.errors import UsageError
from running_server import CLIPS

pytest.importorskip("fastapi", reason="the server is not installed")
from megaasr.serve import request_deadline
from megaasr.serve.access import add_key
from megaasr.serve.http_server import HttpServer
from megaasr.serve.settings import load_settings

openai = pytest.importorskip("openai")
CLIP = CLIPS / "1-clean.flac"
LONG_S = 600
MIN_CHUNKS = LONG_S // 30


def client_of(server: HttpServer, **options: Any) -> Any:
    options = {"api_key": "unused", "max_retries": 0, **options}
    return openai.OpenAI(base_url=f"{server.url}/v1", **options)


def transcribe(client: Any, path: Path = CLIP, **fields: Any) -> Any:
    with path.open("rb") as file:
        return client.audio.transcriptions.create(file=file, model="tiny", **fields)


def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within a minute")


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten minutes of different sentences, lest they look like loops of the decoder."""
    clips = [soundfile.read(clip)[0] for clip in sorted(CLIPS.glob("*-clean.flac"))]
    sentences = np.concatenate([np.append(clip, np.zeros(8000)) for clip in clips])
    path = tmp_path_factory.mktemp("speech") / "speech.flac"
    soundfile.write(path, np.resize(sentences, LONG_S * 16000), 16000)
    return path


def test_large_uploads_are_refused(serve: Callable[..., HttpServer], tmp_path: Path) -> None:
    server = serve(max_upload_mb=0.5)
    big = tmp_path / "big.wav"
    soundfile.write(big, np.zeros(3_000_000), 16000)
    with pytest.raises(openai.APIStatusError) as caught:
        transcribe(client_of(server), big)
    assert caught.value.status_code == 413
    assert caught.value.code == "file_too_large"
    # Without a stated length, the limit is met while the body is read.
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port)
    connection.request(
        "POST",
        "/v1/audio/transcriptions",
        body=(bytes(10_000) for _ in range(60)),
        headers={"content-type": "multipart/form-data; boundary=x"},
        encode_chunked=True,
    )
    response = connection.getresponse()
    assert response.status in (400, 413)
    connection.close()
    assert transcribe(client_of(server)).text


def test_long_recordings_and_many_channels_are_refused(
    serve: Callable[..., HttpServer], tmp_path: Path
) -> None:
    client = client_of(serve(max_audio_s=10, max_channels=2))
    for name, frames, code in (
        ("long.flac", np.zeros(16000 * 11), "audio_too_long"),
        ("wide.wav", np.zeros((16000, 3)), "too_many_channels"),
    ):
        soundfile.write(tmp_path / name, frames, 16000)
        with pytest.raises(openai.BadRequestError) as caught:
            transcribe(client, tmp_path / name)
        assert caught.value.code == code


def test_a_recording_that_states_no_length_is_stopped(
    serve: Callable[..., HttpServer], tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "bomb.mp3", np.zeros(16000 * 600), 16000)
    stream = tmp_path / "stream.mp3"
    # Without the first frame, which holds the length.
    stream.write_bytes((tmp_path / "bomb.mp3").read_bytes()[2000:])
    with pytest.raises(openai.BadRequestError) as caught:
        transcribe(client_of(serve(max_audio_s=60)), stream)
    assert caught.value.code == "audio_too_long"


def test_channels_do_not_make_a_recording_longer(
    serve: Callable[..., HttpServer], tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "wide.flac", np.zeros((16000 * 50, 4)), 16000)
    client = client_of(serve(max_audio_s=60))
    transcription = transcribe(client, tmp_path / "wide.flac", extra_body={"channels": "each"})
    assert transcription.text == ""


def test_slow_uploads_are_ended(serve: Callable[..., HttpServer]) -> None:
    address = urlsplit(serve(upload_timeout_s=0.3).url)
    with socket.create_connection((str(address.hostname), address.port or 0)) as connection:
        connection.sendall(
            b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000\r\n\r\n--x\r\n"
        )
        answer = connection.makefile("rb").read()
    assert b" 408 " in answer.splitlines()[0]
    assert b"upload_timeout" in answer


def test_slow_uploads_of_a_client_do_not_keep_others_out(
    serve: Callable[..., HttpServer], tmp_path: Path
) -> None:
    keys = {name: add_key(tmp_path / "keys", name) for name in ("ann", "bob")}
    server = serve(api_keys=tmp_path / "keys", max_uploads=3, max_uploads_per_client=2)
    address = urlsplit(server.url)
    clients = {name: client_of(server, api_key=key) for name, key in keys.items()}
    with ExitStack() as slow:
        for _ in range(2):
            connection = socket.create_connection((str(address.hostname), address.port or 0))
            slow.enter_context(connection)
            connection.sendall(
                b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\n"
                b"Authorization: Bearer %b\r\nContent-Length: 1000\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
                % keys["ann"].encode()
            )
        eventually(lambda: server.services.uploads.count == 2)
        with pytest.raises(openai.RateLimitError) as caught:
            transcribe(clients["ann"])
        assert caught.value.code == "too_many_uploads"
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert transcribe(clients["bob"]).text
    eventually(lambda: server.services.uploads.count == 0)
    assert transcribe(clients["ann"]).text


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET /health HTTP/1.1\r\nHost: loc",
        b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea",
        b"GET /v1/realtime?session=%b HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\n" % (b"a" * 50_000),
    ],
    ids=["nothing", "half a header", "half a second header", "too long for a WebSocket"],
)
def test_connections_without_a_request_are_ended(
    server: HttpServer, beginning: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_deadline, "REQUEST_LINE_S", 0.5)
    address = urlsplit(server.url)
    with socket.create_connection((str(address.hostname), address.port or 0)) as connection:
        connection.settimeout(60)
        connection.sendall(beginning)
        begun = time.monotonic()
        connection.makefile("rb").read()  # until the server closes it
        assert time.monotonic() - begun < 30


def test_answers_that_take_longer_than_a_header_are_not_ended(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_deadline, "REQUEST_LINE_S", 0.1)
    assert transcribe(client_of(server), CLIPS / "1-clean.flac").text


def test_other_bodies_and_methods(server: HttpServer) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client_of(server).post("/audio/transcriptions", body={"file": "x"}, cast_to=object)
    assert (caught.value.status_code, caught.value.code) == (415, "unsupported_media_type")
    with pytest.raises(openai.APIStatusError) as caught:
        client_of(server).get("/audio/transcriptions", cast_to=object)
    assert (caught.value.status_code, caught.value.code) == (405, "method_not_allowed")
    with pytest.raises(openai.BadRequestError) as caught:
        client_of(server).post(
            "/audio/transcriptions",
            body={"model": "tiny"},
            files={},
            options={"headers": {"content-type": "multipart/form-data"}},
            cast_to=object,
        )
    assert caught.value.response.json()["error"]["message"]


MULTIPART = (
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%b\r\n--x--\r\n'
)


def is_idle(server: HttpServer) -> bool:
    services = server.services
    return services.admission.running == 0 and services.model.use().waiting == 0


def test_a_client_that_leaves_frees_its_turn(
    serve: Callable[..., HttpServer], speech: Path
) -> None:
    server = serve(max_requests=1)
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
    connection.request(
        "POST",
        "/v1/audio/transcriptions",
        body=MULTIPART % speech.read_bytes(),
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    eventually(lambda: server.services.model.use().requests > 0)
    connection.close()
    eventually(lambda: is_idle(server))
    left = 'path="/v1/audio/transcriptions",status="499"} 1.0'
    eventually(lambda: left in server.services.metrics.text().decode())
    assert transcribe(client_of(server)).text  # the next has its turn
    eventually(lambda: is_idle(server))
    assert server.services.model.use().requests < MIN_CHUNKS  # most of it was never decoded


def test_a_reader_of_a_stream_that_leaves_frees_its_turn(
    serve: Callable[..., HttpServer], speech: Path
) -> None:
    server = serve(max_requests=1)
    stream = transcribe(client_of(server), speech, stream=True)
    assert next(iter(stream)).delta
    stream.close()
    eventually(lambda: is_idle(server))
    assert transcribe(client_of(server)).text
    eventually(lambda: is_idle(server))
    assert server.services.model.use().requests < MIN_CHUNKS


def test_a_full_queue_is_a_429_and_clients_retry(
    serve: Callable[..., HttpServer], speech: Path
) -> None:
    server = serve(max_requests=1, max_queue=0)
    busy = transcribe(client_of(server), speech, stream=True)
    with pytest.raises(openai.RateLimitError) as caught:
        transcribe(client_of(server))
    assert int(caught.value.response.headers["retry-after"]) >= 1
    with ThreadPoolExecutor(1) as pool:
        patient = pool.submit(transcribe, client_of(server, max_retries=100))
        busy.close()
        assert patient.result(120).text


def test_what_takes_too_long_is_ended(serve: Callable[..., HttpServer], speech: Path) -> None:
    server = serve(request_timeout_s=0.2)
    with pytest.raises(openai.InternalServerError) as caught:
        transcribe(client_of(server, max_retries=2), speech)
    assert (caught.value.status_code, caught.value.code) == (503, "deadline_exceeded")
    eventually(lambda: server.services.admission.running == 0)


def test_many_clients_get_their_own_texts(server: HttpServer) -> None:
    clips = sorted(CLIPS.glob("*-clean.flac"))
    client = client_of(server)
    alone = [transcribe(client, clip).text for clip in clips]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda clip: transcribe(client, clip).text, clips * 3))
    assert together == alone * 3
    assert len(set(alone)) == len(clips)


def test_a_model_that_cannot_be_loaded_is_a_503(serve: Callable[..., HttpServer]) -> None:
    server = serve(model="/no/such/folder", aliases="tiny", preload=False)
    eventually(lambda: server.services.model.status.state == "retrying")
    with pytest.raises(openai.InternalServerError) as caught:
        transcribe(client_of(server))
    assert (caught.value.status_code, caught.value.code) == (503, "model_not_loaded")
    assert int(caught.value.response.headers["retry-after"]) >= 1
    with pytest.raises(openai.InternalServerError) as caught:
        openai.OpenAI(base_url=server.url, api_key="x", max_retries=0).get(
            "/health/ready", cast_to=object
        )
    health = caught.value.response.json()
    assert health["status"] == "retrying"
    assert "/no/such/folder" in health["reason"]
    assert health["retry_in_s"] <= 60


@pytest.mark.parametrize("preload", [False, True])
def test_a_model_that_does_not_fit_keeps_the_server_from_starting(*, preload: bool) -> None:
    settings = {"model": "tiny", "port": 0, "preload": preload, "memory": "1MB"}
    with pytest.raises(UsageError, match=r"does not fit into 0\.001 GB of memory"):
        HttpServer(load_settings(None, {}, settings))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int7"}, "int7"),
        ({"device": "cuda:7"}, "device cuda:7: not available here"),
        pytest.param(
            {"engine": "vllm"},
            "vllm",
            marks=pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed"),
        ),
    ],
)
def test_what_no_waiting_can_mend_keeps_the_server_from_starting(
    options: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        HttpServer(load_settings(None, {}, {"model": "tiny", "port": 0, **options}))


def test_metrics_count_what_was_done(serve: Callable[..., HttpServer]) -> None:
    server = serve()
    client = client_of(server)
    transcribe(client)
    transcribe(client, CLIPS / "1-obstructed.flac")
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    counted = 'mega_asr_requests_total{method="POST",path="/v1/audio/transcriptions",status="200"}'
    for line in (
        f"{counted} 2.0",
        'mega_asr_segments_total{route="base"} 1.0',
        'mega_asr_segments_total{route="robust"} 1.0',
        "mega_asr_running_requests 0.0",
        "process_resident_memory_bytes ",
        "mega_asr_model_batches_total ",
    ):
        assert f"\n{line}" in text, line


def test_requests_in_progress_are_finished_on_shutdown(
    serve: Callable[..., HttpServer], speech: Path, tmp_path: Path
) -> None:
    minute = tmp_path / "minute.flac"
    soundfile.write(minute, soundfile.read(speech, frames=60 * 16_000)[0], 16_000)
    server = serve(shutdown_s=600)
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(transcribe, client_of(server), minute)
        eventually(lambda: server.services.model.use().requests > 0)
        server.stop()
        assert pending.result(600).text


def test_what_does_not_end_in_time_is_a_503(serve: Callable[..., HttpServer], speech: Path) -> None:
    server = serve(shutdown_s=1)
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(transcribe, client_of(server), speech)
        eventually(lambda: server.services.admission.running == 1)
        server.stop()
        with pytest.raises(openai.InternalServerError) as caught:
            pending.result(600)
    assert (caught.value.status_code, caught.value.code) == (503, "shutting_down")


def test_the_command_prints_its_address_logs_json_and_ends_on_sigterm(tmp_path: Path) -> None:
    environment = {**os.environ, "MEGA_ASR_MODEL": "tiny", "PYTHONPATH": os.pathsep.join(sys.path)}
    log_path = tmp_path / "log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "megaasr", "serve", "--port", "0", "--preload"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
        try:
            assert process.stdout is not None
            url = process.stdout.readline().removeprefix("listening on ").strip()
            text = transcribe(openai.OpenAI(base_url=f"{url}/v1", api_key="x")).text
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    assert process.returncode in (0, -signal.SIGTERM)
    lines = [json.loads(line) for line in log_path.read_text().splitlines()]
    (line,) = [line for line in lines if line["message"] == "request"]
    assert (line["status"], line["client"]) == (200, "127.0.0.1")
    assert line["request_id"].startswith("req_")
    assert text
    assert text not in log_path.read_text()
