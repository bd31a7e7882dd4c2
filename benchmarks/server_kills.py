"""Kills a server at random moments during jobs and live sessions; nothing may be lost or doubled.

`python -m benchmarks.server_kills --kills 1000` (or `--minutes 15`). After each `kill -9` the
server is started again in the same data folder; a live client resumes its session, and the job
goes on. When both are done, their texts must be those of an undisturbed run; then the next pair
begins. The servers are forked from a process that has imported the modules, unless `--run` starts
the command every time, which takes seconds.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from benchmarks.clips import RATE, joined
from benchmarks.server_process import ServerProcess
from megaasr import strict_json

FRAME = RATE // 10
COMPLETED = "conversation.item.input_audio_transcription.completed"
MAX_KILLS = 8
"""Largest number of kills during one job and session."""
LOST_CONNECTION = (WebSocketException, OSError, EOFError)


@dataclass(slots=True)
class LiveClient:
    """A client that numbers its frames, and resumes its session after a lost connection.

    Attributes:
        frames: its audio, in base64.
        token: the session's; empty before it is opened.
        numbers: numbers of the events that it received.
        texts: the final texts, in the order in which they came.
    """

    frames: list[str]
    token: str = ""
    numbers: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def run(self, url: str, utterances: int) -> None:
        """Send and receive until all utterances are there, or the connection is lost."""
        address = url.replace("http", "ws", 1) + "/v1/realtime?intent=transcription"
        if self.token:
            address += f"&session={self.token}&after={max(self.numbers, default=0)}"
        with suppress(*LOST_CONNECTION), connect(address) as socket:
            hello = json.loads(socket.recv())
            self.token = hello["resume"]["token"]
            if not hello["resume"]["frames"]:  # the settings may have been lost, too
                audio = {"format": {"type": "audio/pcm", "rate": RATE}}
                session = {"type": "transcription", "audio": {"input": audio}}
                socket.send(strict_json.dumps({"type": "session.update", "session": session}))
            for number in range(hello["resume"]["frames"], len(self.frames)):
                event = {"type": "input_audio_buffer.append", "audio": self.frames[number]}
                socket.send(strict_json.dumps({**event, "sequence": number + 1}))
            while len(self.texts) < utterances:
                self._take(json.loads(socket.recv()))

    def _take(self, event: dict[str, Any]) -> None:
        self.numbers.append(int(event["event_id"].removeprefix("event_")))
        if event["type"] == COMPLETED:
            self.texts.append(event["transcript"])


def main() -> None:
    """Kill the server, and print after each pair how many finals were lost or doubled so far."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="Kill no longer.")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run", action="store_true", help="Run the command for every server.")
    options = parser.parse_args()
    is_forked = not options.run
    rng = random.Random(options.seed)
    clips = joined(4.0, 3)
    pause = np.zeros(RATE, dtype=np.float32)
    speech = np.concatenate([part for clip in clips for part in (clip, pause)])
    levels = (np.clip(speech, -1, 1) * 32767).astype("<i2")
    frames = [
        base64.b64encode(levels[start : start + FRAME].tobytes()).decode()
        for start in range(0, len(levels), FRAME)
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        soundfile.write(folder / "job.wav", np.tile(speech, 4), RATE)
        server_options = ["--model", options.model, "--log-level", "error", "--batch-size", "1"]
        server_options += ["--data-dir", str(folder / "data"), "--set", "resume_s=3600"]
        log = folder / "log"
        with ServerProcess(server_options, log, is_forked=is_forked) as server:
            expected_job = _job_text(server.url, _submit(server.url, folder / "job.wav"))
            client = LiveClient(frames)
            client.run(server.url, len(clips))
            expected_live = client.texts
        kills = pairs = wrong_jobs = wrong_sessions = 0
        end = time.monotonic() + 60 * options.minutes
        while kills < options.kills and time.monotonic() < end:
            live, job_id = LiveClient(frames), ""
            for _ in range(min(rng.randint(1, MAX_KILLS), options.kills - kills)):
                if job_id and time.monotonic() >= end:
                    break
                with ServerProcess(server_options, log, is_forked=is_forked) as server:
                    job_id = job_id or _submit(server.url, folder / "job.wav")
                    thread = threading.Thread(target=live.run, args=(server.url, len(clips)))
                    thread.start()
                    time.sleep(rng.expovariate(1.0))
                    server.kill()
                    kills += 1
                    thread.join()
            with ServerProcess(server_options, log, is_forked=is_forked) as server:
                live.run(server.url, len(clips))
                text = _job_text(server.url, job_id)
            pairs += 1
            wrong_jobs += text != expected_job
            is_numbered = live.numbers == list(range(1, len(live.numbers) + 1))
            if live.texts != expected_live or not is_numbered:
                wrong_sessions += 1
                print(f"wrong: {live.texts} instead of {expected_live}, events {live.numbers}")
            print(
                f"{kills} kills, {pairs} jobs and sessions; jobs with a wrong text: {wrong_jobs}; "
                f"sessions with lost or doubled: {wrong_sessions}",
                flush=True,
            )


def _submit(url: str, path: Path) -> str:
    with path.open("rb") as file:
        response = httpx.post(f"{url}/v1/jobs", files={"file": file}, timeout=120)
    return str(response.raise_for_status().json()["id"])


def _job_text(url: str, job_id: str) -> str:
    while True:
        status = httpx.get(f"{url}/v1/jobs/{job_id}").json()["status"]
        if status not in ("queued", "running"):
            break
        time.sleep(0.2)
    result = httpx.get(f"{url}/v1/jobs/{job_id}/result")
    return str(result.json()["text"]) if result.is_success else result.text


if __name__ == "__main__":
    main()
