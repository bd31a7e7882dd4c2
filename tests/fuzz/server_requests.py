"""Malformed requests and WebSocket frames for a server, by seed and index."""

from __future__ import annotations

import json
import random
import re
import socket
from dataclasses import dataclass
from typing import Any

PATHS = (
    *("/v1/audio/transcriptions", "/v1/audio/translations", "/v1/models", "/v1/models/tiny"),
    *("/v1/jobs", "/v1/jobs/job_0", "/v1/jobs/job_0/result", "/v1/jobs/job_0/cancel", "/health"),
    *("/metrics", "/v1/realtime", "/openapi.json", "/nothing", "//", "/v1/../etc/passwd", "/%00"),
)
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW")
FIELDS = (
    *("model", "language", "languages[]", "prompt", "keywords[]", "response_format", "temperature"),
    *(
        "timestamp_granularities[]",
        "include[]",
        "stream",
        "chunking_strategy",
        "route",
        "threshold",
    ),
    *("chunking_strategy[type]", "known_speaker_names[]", "decode", "samples", "channels", "track"),
    *("unintelligible", "guard", "max_line_width", "file", "path", "file[]", "[]", "a[b][c]", ""),
)
VALUES = (
    *("", "tiny", "whisper-1", "true", "-1", "0", "1e999", "nan", "99999999999999999999", "json"),
    *("verbose_json", "srt", "word", "en", "xx", "each", "mix", "server_vad", '{"type": 3}', "{"),
    *("../../etc/passwd", "\u0000", "é" * 50, "a=b", "phrase_cycle=nan", "x" * 5000, "[1, 2]"),
)
EVENT_TYPES = (
    *("session.update", "input_audio_buffer.append", "input_audio_buffer.commit"),
    *("input_audio_buffer.clear", "response.create", "conversation.item.create", "", "x" * 300),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered.

    Attributes:
        status: HTTP status; None if it closed the connection without an answer.
        body: the body.
    """

    status: int | None
    body: bytes


def malformed_request(seed: int, index: int) -> bytes:
    """Return the bytes of a request that is wrong in some way, or in none."""
    rng = random.Random(f"{seed}/{index}")
    method, path = rng.choice(METHODS), rng.choice(PATHS)
    if rng.random() < 0.5:
        method, path = "POST", rng.choice(PATHS[:1] + PATHS[4:5])
    body, kind = _body(rng)
    headers = {
        "Host": rng.choice(("localhost",) * 9 + ("evil.org",)),
        "Connection": "close",
        "Content-Type": kind,
        "Content-Length": str(len(body)),
    }
    if rng.random() < 0.1:
        headers["Content-Length"] = rng.choice(("-1", "x", "99999999999", "0", "1"))
    if rng.random() < 0.1:
        headers[rng.choice(("Origin", "Authorization", "Cookie", "Accept"))] = rng.choice(VALUES)
    if rng.random() < 0.05:
        headers = {"Host": "localhost", "Upgrade": "websocket", "Connection": "Upgrade"}
    if rng.random() < 0.3:
        path += "?" + rng.choice(
            ("limit=x", "limit=-1", "response_format=%ff", "a[]=1", "&&==", "%")
        )
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    data = "\r\n".join(lines).encode("utf-8", "replace").replace(b"\0", b"") + b"\r\n\r\n" + body
    if rng.random() < 0.15:
        data = _flipped(rng, data)
    return data[: rng.randrange(1, len(data))] if rng.random() < 0.1 else data


def malformed_frame(seed: int, index: int) -> str | bytes:
    """Return a WebSocket message that is wrong in some way, or in none."""
    rng = random.Random(f"{seed}/frame/{index}")
    event: Any = {"type": rng.choice(EVENT_TYPES)}
    settings = {
        "format": {"type": rng.choice(("audio/pcm", "audio/pcmu", "x")), "rate": _junk(rng)}
    }
    settings[rng.choice(("transcription", "turn_detection", "noise_reduction"))] = _junk(rng)
    if event["type"] == "session.update":
        event["session"] = rng.choice((_junk(rng), {"audio": {"input": settings}}))
    else:
        event[rng.choice(("audio", "sequence", "item"))] = rng.choice(
            ("AAAA", "AAA", "é", _junk(rng))
        )
    text = json.dumps(event)
    if rng.random() < 0.2:
        text = text[: rng.randrange(len(text))]
    return text.encode() if rng.random() < 0.1 else text


def ask(address: tuple[str, int], data: bytes, timeout_s: float) -> Answer:
    """Send bytes, end the sending, and read the answer.

    Raises:
        TimeoutError: the server neither answers nor closes the connection.
    """
    with socket.create_connection(address, timeout=timeout_s) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.makefile("rb").read()
        except ConnectionError:
            return Answer(None, b"")
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split()
    # What follows the request may be answered, too, as a request that is none.
    if length := re.search(rb"content-length: (\d+)", head.lower()):
        body = body[: int(length[1])]
    return Answer(int(words[1]) if len(words) > 1 else None, body)


def _body(rng: random.Random) -> tuple[bytes, str]:
    if rng.random() < 0.2:
        return rng.randbytes(rng.randrange(200)), rng.choice(
            ("application/json", "", "multipart/x")
        )
    parts = []
    for _ in range(rng.randrange(6)):
        name, value = rng.choice(FIELDS), rng.choice(VALUES)
        file = '; filename="a.wav"' if rng.random() < 0.3 else ""
        content = rng.randbytes(rng.randrange(100)) if file else value.encode()
        head = f'--x\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        parts.append(head.encode() + content + b"\r\n")
    end = rng.choice((b"--x--\r\n",) * 5 + (b"", b"--y--"))
    boundary = rng.choice(("; boundary=x",) * 8 + ("", "; boundary="))
    return b"".join(parts) + end, "multipart/form-data" + boundary


def _flipped(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _junk(rng: random.Random) -> Any:
    return rng.choice(
        (None, [], {}, -1, 1e308, True, "x", {"type": "server_vad"}, {"rate": []}, 8000)
    )
