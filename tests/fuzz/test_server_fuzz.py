"""Malformed requests and frames: an answer with a status below 500, or an error event, always."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from server_requests import ask, malformed_frame, malformed_request

if TYPE_CHECKING:
    from megaasr.serve.http_server import HttpServer

pytest.importorskip("fastapi", reason="the server is not installed")

SEED = 23
TIMEOUT_S = 120.0
"""Only a server that hangs needs as long."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    from running_server import running

    with running(data_dir=tmp_path_factory.mktemp("data"), upload_timeout_s=5) as started:
        yield started


def check_requests(server: HttpServer, count: int) -> Counter[int | None]:
    address = urlsplit(server.url)
    statuses: Counter[int | None] = Counter()
    for index in range(count):
        data = malformed_request(SEED, index)
        answer = ask((str(address.hostname), address.port or 0), data, TIMEOUT_S)
        statuses[answer.status] += 1
        assert answer.status is None or answer.status < 500, (index, data, answer)
        if answer.body.startswith(b'{"error"'):
            error = json.loads(answer.body)["error"]
            assert error["message"], (index, data)
            assert error["type"], (index, data)
    return statuses


def check_frames(server: HttpServer, count: int) -> int:
    from websockets.sync.client import connect

    url = server.url.replace("http", "ws", 1) + "/v1/realtime?intent=transcription"
    errors = 0
    with connect(url) as connection:
        connection.recv(timeout=TIMEOUT_S)
        for index in range(count):
            connection.send(malformed_frame(SEED, index))
        connection.send('{"type": "no such type"}')  # marks the end
        while True:
            event = json.loads(connection.recv(timeout=TIMEOUT_S))
            if event["type"] == "error":
                errors += 1
                assert event["error"]["type"] != "server_error", event
                if "no such type" in event["error"]["message"]:
                    return errors


def test_some_requests(server: HttpServer) -> None:
    statuses = check_requests(server, 300)
    assert len(statuses) > 5  # they are wrong in different ways
    assert statuses[None] < 60


def test_some_frames(server: HttpServer) -> None:
    assert check_frames(server, 100) > 20


def test_requests_depend_on_seed_and_index_alone() -> None:
    assert malformed_request(1, 5) == malformed_request(1, 5) != malformed_request(2, 5)
    assert malformed_frame(1, 5) == malformed_frame(1, 5)


@pytest.mark.slow
def test_five_thousand_requests_and_frames(server: HttpServer) -> None:
    count = int(os.environ.get("MEGAASR_FUZZ_REQUESTS", "5000"))
    print(dict(check_requests(server, count)))
    print(check_frames(server, count))
    assert server.services.admission.running == server.services.admission.waiting == 0
