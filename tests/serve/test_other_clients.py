"""Clients that cannot be installed beside the current official one: `make clients`.

Each runs in an environment of its own, below the folder that the variable names.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import soundfile

from running_server import CLIPS

pytest.importorskip("fastapi", reason="the server is not installed")
from megaasr.serve.http_server import HttpServer

pytestmark = pytest.mark.slow
TEXT = "There are fifty-six monkeys near the nightclub."
PROGRAMS = Path(__file__).parent / "client_programs"
VARIABLE = "MEGAASR_CLIENTS"


def run(name: str, server: HttpServer, folder: Path) -> dict[str, Any]:
    """Run a program of a client, and return what it prints."""
    environments = os.environ.get(VARIABLE)
    if environments is None:
        pytest.skip(f"{VARIABLE} does not name the folder of the clients; see make clients")
    samples, rate = soundfile.read(CLIPS / "1-clean.flac", dtype="int16")
    soundfile.write(folder / "talk.wav", samples, rate)
    interpreter = Path(environments).resolve() / name / "bin" / "python"
    command = [interpreter, PROGRAMS / f"{name}.py", server.url, folder / "talk.wav"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_version_1_of_the_official_client(server: HttpServer, tmp_path: Path) -> None:
    results = run("openai_1", server, tmp_path)
    assert results["version"].startswith("1.")
    for name in ("json", "verbose_json", "segments", "live"):
        assert results[name] == TEXT, name
    assert results["text"].strip() == TEXT
    assert results["srt"].startswith("1\n00:00:0")
    assert results["vtt"].startswith("WEBVTT\n")
    assert " ".join(results["words"]) == TEXT
    assert results["route"] in ("base", "robust")
    assert {"tiny", "whisper-1"} <= set(results["models"])
    assert results["error"] == "invalid_audio"
    assert results["events"] == ["transcript.text.delta", "transcript.text.done"]


def test_the_plugin_of_livekit(server: HttpServer, tmp_path: Path) -> None:
    results = run("livekit_plugin", server, tmp_path)
    assert results["recording"] == TEXT
    for name in ("server_vad", "own_vad"):
        assert results[name]["final"] == TEXT, name
        assert all(TEXT.startswith(text) for text in results[name]["interim"]), name
