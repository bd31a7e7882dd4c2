"""Many clients at once: no lost or swapped text, no leak, latencies, and what batching gains.

`python -m benchmarks.server_load --model tiny --clients 64 --seconds 180`. Clients send short and
long recordings and live audio; a tenth of the requests is broken, and a tenth leaves early.
`--live-only` sends live audio as fast as it is taken. `--lock` is the same server behind one lock
(batches of one, one request at a time), to compare with. The server is a process of its own on the
loopback address.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import soundfile
from websockets.asyncio.client import connect

from benchmarks.clips import RATE, joined
from benchmarks.server_process import ServerProcess
from megaasr import strict_json
from megaasr.audio.waveform import Samples

FRAME = RATE // 10
COMPLETED = "conversation.item.input_audio_transcription.completed"


@dataclass(slots=True)
class Tally:
    """What the clients saw.

    Attributes:
        counts: number of requests by kind and outcome.
        latencies: seconds of the requests that were answered, by kind.
        audio_s: seconds of audio that were transcribed.
        wrong: recordings whose text is not the one that they have alone.
    """

    counts: Counter[str] = field(default_factory=Counter)
    latencies: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    audio_s: float = 0.0
    wrong: list[str] = field(default_factory=list)


class Load:
    """Clients of a server.

    Args:
        url: the server's address.
        recordings: what is sent; the second half of them is long.
        seed: seed of what the clients do.
    """

    def __init__(self, url: str, recordings: Sequence[Samples], seed: int) -> None:
        self._url = url
        self._recordings = [np.asarray(recording) for recording in recordings]
        self._files = [_wav(recording) for recording in recordings]
        self._seed = seed
        self._expected: dict[tuple[str, int], str] = {}
        self.tally = Tally()

    async def learn(self, kinds: Sequence[str]) -> None:
        """Transcribe every recording alone, which is what its text is compared with."""
        async with httpx.AsyncClient(timeout=600) as http:
            for index in range(len(self._files)):
                for kind in kinds:
                    text = await self._text(kind, http, index)
                    self._expected[kind, index] = text

    async def run(self, clients: int, seconds: float, *, live_only: bool) -> None:
        """Let clients send requests for some seconds."""
        end = time.monotonic() + seconds
        await asyncio.gather(
            *(self._client(number, end, live_only=live_only) for number in range(clients))
        )

    async def _client(self, number: int, end: float, *, live_only: bool) -> None:
        rng = random.Random(f"{self._seed}/{number}")
        async with httpx.AsyncClient(timeout=600) as http:
            while time.monotonic() < end:
                kind = "live" if live_only or rng.random() < 0.3 else "file"
                index = rng.randrange(len(self._files))
                fate = "normal" if live_only else rng.choice(("normal",) * 8 + ("broken", "leaves"))
                await self._request(http, kind, index, fate)

    async def _request(self, http: httpx.AsyncClient, kind: str, index: int, fate: str) -> None:
        start = time.monotonic()
        if fate == "broken":
            response = await self._post(http, b"RIFF" + bytes(100))
            self.tally.counts[f"broken: {response.status_code}"] += 1
            return
        try:
            async with asyncio.timeout(0.2 if fate == "leaves" else 600):
                text = await self._text(kind, http, index)
        except TimeoutError:
            self.tally.counts[f"{kind}: left"] += 1
            return
        except httpx.HTTPStatusError as error:
            self.tally.counts[f"{kind}: {error.response.status_code}"] += 1
            await asyncio.sleep(float(error.response.headers.get("retry-after", 1)))
            return
        self.tally.counts[f"{kind}: 200"] += 1
        self.tally.latencies[kind].append(time.monotonic() - start)
        self.tally.audio_s += len(self._recordings[index]) / RATE
        if text != self._expected[kind, index]:
            self.tally.wrong.append(f"{kind} {index}: {text!r}")

    async def _text(self, kind: str, http: httpx.AsyncClient, index: int) -> str:
        if kind == "live":
            return await self._live(self._recordings[index])
        response = await self._post(http, self._files[index])
        response.raise_for_status()
        return str(response.json()["text"])

    async def _post(self, http: httpx.AsyncClient, data: bytes) -> httpx.Response:
        files = {"file": ("talk.wav", data)}
        return await http.post(f"{self._url}/v1/audio/transcriptions", files=files)

    async def _live(self, samples: Samples) -> str:
        url = self._url.replace("http", "ws", 1) + "/v1/realtime?intent=transcription"
        audio = {"format": {"type": "audio/pcm", "rate": RATE}, "turn_detection": None}
        levels = (np.clip(samples, -1, 1) * 32767).astype("<i2")
        # Its own pings would wait behind the audio.
        async with connect(url, ping_interval=None) as socket:
            session = {"type": "transcription", "audio": {"input": audio}}
            await socket.send(strict_json.dumps({"type": "session.update", "session": session}))
            for start in range(0, len(levels), FRAME):
                frame = base64.b64encode(levels[start : start + FRAME].tobytes()).decode()
                event = {"type": "input_audio_buffer.append", "audio": frame}
                await socket.send(strict_json.dumps(event))
            await socket.send(strict_json.dumps({"type": "input_audio_buffer.commit"}))
            async for message in socket:
                answer = json.loads(message)
                if answer["type"] == COMPLETED:
                    return str(answer["transcript"])
        return "(no answer)"


def main() -> None:
    """Run the clients, and print what they saw and what the server kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=180.0, help="Of each round.")
    parser.add_argument("--rounds", type=int, default=1, help="To see whether memory grows.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--live-only", action="store_true")
    parser.add_argument("--lock", action="store_true")
    options = parser.parse_args()
    server_options = ["--model", options.model, "--log-level", "error"]
    server_options += ["--set", "max_queue=1000", "--set", "max_queue_per_client=1000"]
    server_options += ["--set", "max_uploads=1000", "--set", "max_uploads_per_client=1000"]
    server_options += ["--set", f"max_sessions={2 * options.clients}"]
    if options.lock:
        server_options += ["--batch-size", "1", "--max-requests", "1"]
    with (
        tempfile.TemporaryDirectory() as folder,
        ServerProcess(server_options, Path(folder) / "log") as server,
    ):
        load = Load(server.url, [*joined(4.0, 4), *joined(25.0, 2), *joined(60.0, 1)], options.seed)
        asyncio.run(load.learn(["live"] if options.live_only else ["file", "live"]))
        kept = [(*server.threads_and_files(), server.memory_mb())]
        wall_s, cpu_s = 0.0, -server.cpu_s()
        for _ in range(options.rounds):
            start = time.monotonic()
            asyncio.run(load.run(options.clients, options.seconds, live_only=options.live_only))
            wall_s += time.monotonic() - start
            time.sleep(2)
            kept.append((*server.threads_and_files(), server.memory_mb()))
        cpu_s += server.cpu_s()
    _show(load.tally, wall_s, cpu_s, kept)


def _show(
    tally: Tally, wall_s: float, cpu_s: float, kept: Sequence[tuple[float, float, float]]
) -> None:
    for outcome, count in sorted(tally.counts.items()):
        print(f"{outcome:24}{count:8}")
    for kind, latencies in tally.latencies.items():
        p50, p90, p99 = np.percentile(latencies, [50, 90, 99])
        print(f"{kind}: latency p50 {p50:.2f} s, p90 {p90:.2f} s, p99 {p99:.2f} s")
    print(f"throughput: {tally.audio_s / wall_s:.1f} s of audio per second")
    # Other programs of the machine do not change it much.
    print(f"the server computes {tally.audio_s / cpu_s:.1f} s of audio per second of CPU time")
    names = ("threads", "open files", "memory, MB")
    for name, (first, *later) in zip(names, zip(*kept, strict=True), strict=True):
        rounds = ", ".join(f"{value:.0f}" for value in later)
        print(f"{name}: {first:.0f} before, after each round: {rounds}")
    print(f"texts that differ from those of the recordings alone: {len(tally.wrong)}")
    for line in tally.wrong[:10]:
        print(f"  {line}")


def _wav(samples: Samples) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV")
    return file.getvalue()


if __name__ == "__main__":
    main()
