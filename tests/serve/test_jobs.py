"""Jobs: results, progress, cancelling, owners, paths, and a server that is killed."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from megaasr import MegaASR, __version__
from megaasr.errors import UsageError
from megaasr.model.hub import find_model
from megaasr.model.interface import Recognition, Request, SamplingSettings
from megaasr.records import Check, Segment, Transcript
from running_server import CLIPS

pytest.importorskip("fastapi", reason="the server is not installed")
from megaasr.serve import job_runner, model_loading
from megaasr.serve.http_server import HttpServer
from megaasr.serve.job_store import JobStore
from megaasr.serve.recognition_journal import JournaledModel
from megaasr.serve.served_model import ServedModel
from megaasr.serve.settings import load_settings
from megaasr.serve.transcription_form import TranscriptionForm
from megaasr.transcribe.bundle import ModelOptions

CLIP = CLIPS / "1-clean.flac"
FORM = TranscriptionForm()


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path)


def queued(store: JobStore, client: str = "ann", **options: Any) -> str:
    job_id = store.new_id()
    store.audio_path(job_id).write_bytes(b"RIFF")
    store.add(job_id, client, "talk.wav", FORM, path=None, duration_s=1.0, **options)
    return job_id


def limit_pages(store: JobStore, count: int) -> None:
    """Fill the disk, or empty it: the file has at most so many pages, or those it has."""
    store._connection.execute(f"PRAGMA max_page_count = {count}")


def test_clients_take_turns(store: JobStore) -> None:
    ids = [queued(store, client) for client in ("ann", "ann", "bob")]
    order = [job.id for _ in ids if (job := store.take_next()) is not None]
    assert order == [ids[0], ids[2], ids[1]]
    assert store.take_next() is None


def test_what_ran_when_the_process_ended_is_queued_again(tmp_path: Path, store: JobStore) -> None:
    job_id = queued(store)
    (tmp_path / "audio" / "left-behind").write_bytes(b"x")
    assert store.take_next() is not None
    again = JobStore(tmp_path)  # as after kill -9: nothing was closed
    again.recover()
    job = again.take_next()
    assert job is not None
    assert (job.id, job.form) == (job_id, FORM)
    assert [file.name for file in (tmp_path / "audio").iterdir()] == [job_id]


def test_results_come_back_as_they_were(store: JobStore) -> None:
    segment = Segment(0.0, 1.0, "a", checks=(Check("characters_per_s", float("inf"), 30.0),))
    transcript = Transcript("a", "en", 1.0, "tiny", (segment,), notes=("cut off",))
    job_id = queued(store)
    store.take_next()
    store.complete(job_id, [transcript])
    assert store.transcripts(job_id) == (transcript,)
    assert not store.audio_path(job_id).exists()  # it is not needed any more
    store.expire(time.time() + 1)
    assert store.get(job_id) is None


def test_a_cancelled_job_stays_cancelled(store: JobStore) -> None:
    job_id = queued(store)
    store.take_next()
    assert store.cancel(job_id)
    store.complete(job_id, [Transcript("a", "en", 1.0, "tiny")])
    assert not store.cancel(job_id)
    job = store.get(job_id)
    assert job is not None
    assert job.status == "cancelled"


class Counting:
    """Counts requests, and ends at the third."""

    name = "counting"
    has_robust_route = False

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def recognize(self, requests: Any) -> list[Recognition]:
        self.sizes += [request.samples.size for request in requests]
        if len(self.sizes) == 3:
            raise CancelledError
        return [Recognition(str(r.samples.size), "en", 1, False, "") for r in requests]

    def sample(self, requests: Any, settings: SamplingSettings) -> list[list[Recognition]]:
        return [self.recognize([request]) * settings.samples for request in requests]


def test_nothing_is_decoded_twice(store: JobStore) -> None:
    model = Counting()
    journaled = JournaledModel(model, store, queued(store), "tiny")
    requests = [Request(np.zeros(size, dtype=np.float32)) for size in (4, 5, 6)]
    assert [r.text for r in journaled.recognize(requests[:2])] == ["4", "5"]
    with pytest.raises(CancelledError):
        journaled.recognize(requests)
    assert [r.text for r in journaled.recognize([*requests, requests[0]])] == ["4", "5", "6", "4"]
    assert model.sizes == [4, 5, 6, 6]
    others = [replace(requests[0], route="robust"), replace(requests[0], language="de")]
    journaled.recognize(others)  # not the same requests
    assert len(model.sizes) == 6
    for _ in range(2):
        groups = journaled.sample(requests[:1], SamplingSettings(2, 0.5))
        assert [[r.text for r in group] for group in groups] == [["4", "4"]]
    assert len(model.sizes) == 7


def test_another_model_does_not_get_what_the_first_one_decoded(store: JobStore) -> None:
    job_id, requests = queued(store), [Request(np.zeros(4, dtype=np.float32))]
    models = [Counting(), Counting()]
    for model, identity in zip(models, ("tiny", "small"), strict=True):
        journaled = JournaledModel(model, store, job_id, identity)
        journaled.recognize(requests)
        journaled.sample(requests, SamplingSettings(2, 0.5))
    assert [model.sizes for model in models] == [[4, 4], [4, 4]]


def test_a_model_is_known_by_its_contents(tmp_path: Path) -> None:
    def identity(name: str, **options: Any) -> str:
        served = ServedModel(ModelOptions(name, **options))
        served.start(retry=False)
        try:
            return served.identity()
        finally:
            served.close()

    shutil.copytree(find_model("tiny"), tmp_path / "same")
    shutil.copytree(find_model("tiny"), tmp_path / "other")
    (adapter,) = (tmp_path / "other").glob("*/adapter_model.safetensors")
    shutil.rmtree(adapter.parent)
    tiny = identity("tiny")
    assert identity(str(tmp_path / "same"), route="base") == tiny
    assert identity(str(tmp_path / "other")) != tiny
    assert identity("tiny", dtype="bfloat16") != tiny


def submit(url: str, path: Path = CLIP, **fields: str) -> httpx.Response:
    with path.open("rb") as file:
        return httpx.post(f"{url}/v1/jobs", files={"file": file}, data=fields, timeout=60)


def store_of(server: HttpServer) -> JobStore:
    """Return the jobs of a server, once it answers."""
    assert httpx.get(f"{server.url}/v1/jobs").json()["data"] == []
    assert server.services.jobs is not None
    return server.services.jobs.store


def ended(url: str, job_id: str) -> dict[str, Any]:
    for _ in range(3000):
        job: dict[str, Any] = httpx.get(f"{url}/v1/jobs/{job_id}").json()
        if job["status"] not in ("queued", "running"):
            return job
        time.sleep(0.05)
    raise AssertionError(f"job {job_id} does not end")


@pytest.fixture(scope="module")
def expected() -> Transcript:
    return MegaASR.from_pretrained("tiny").transcribe(CLIP)


@pytest.fixture
def jobs_server(serve: Callable[..., HttpServer], tmp_path: Path) -> HttpServer:
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "clip.flac").write_bytes(CLIP.read_bytes())
    (tmp_path / "secret.flac").write_bytes(CLIP.read_bytes())
    return serve(data_dir=tmp_path / "data", path_root=tmp_path / "recordings")


def test_a_job_from_upload_to_every_format(jobs_server: HttpServer, expected: Transcript) -> None:
    url = jobs_server.url
    response = submit(url, response_format="srt")
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    finished = ended(url, job["id"])
    assert finished["status"] == "completed"
    assert finished["progress"]["done_s"] == pytest.approx(expected.duration_s)
    assert finished["expires_at"] > finished["ended_at"]
    result = f"{url}/v1/jobs/{job['id']}/result"
    assert httpx.get(result).text == expected.to_srt()
    assert httpx.get(result, params={"response_format": "vtt"}).text == expected.to_vtt()
    words = {"response_format": "verbose_json", "timestamp_granularities": "word"}
    assert len(httpx.get(result, params=words).json()["words"]) == len(expected.text.split())
    wrong = httpx.get(result, params={"route": "base"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "route")
    assert [entry["id"] for entry in httpx.get(f"{url}/v1/jobs").json()["data"]] == [job["id"]]
    assert httpx.delete(f"{url}/v1/jobs/{job['id']}").json()["deleted"] is True
    assert httpx.get(f"{url}/v1/jobs/{job['id']}").status_code == 404


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": "verbose_json", "timestamp_granularities": "word"},
        {"response_format": "json", "include": "logprobs"},
    ],
)
def test_what_fits_one_format_only_does_not_bind_the_others(
    jobs_server: HttpServer, expected: Transcript, fields: dict[str, str]
) -> None:
    job_id = submit(jobs_server.url, **fields).json()["id"]
    assert ended(jobs_server.url, job_id)["status"] == "completed"
    result = f"{jobs_server.url}/v1/jobs/{job_id}/result"
    own = httpx.get(result).json()
    assert ("words" in own, "logprobs" in own) == ("word" in fields.values(), "include" in fields)
    for name in ("json", "text", "srt", "vtt", "verbose_json", "diarized_json"):
        answer = httpx.get(result, params={"response_format": name})
        assert answer.status_code == 200, answer.text
    assert httpx.get(result, params={"response_format": "srt"}).text == expected.to_srt()
    wrong = {"response_format": "srt", "include": "logprobs"}
    assert httpx.get(result, params=wrong).json()["error"]["param"] == "include"


def test_paths_stay_below_their_folder(jobs_server: HttpServer, expected: Transcript) -> None:
    def by_path(path: str) -> httpx.Response:
        form = {"path": (None, path), "model": (None, "tiny")}
        return httpx.post(f"{jobs_server.url}/v1/jobs", files=form, timeout=60)

    job = by_path("clip.flac").json()
    assert ended(jobs_server.url, job["id"])["status"] == "completed"
    result = httpx.get(f"{jobs_server.url}/v1/jobs/{job['id']}/result").json()
    assert result["text"] == expected.text
    for path in ("../secret.flac", "/etc/passwd", "missing.flac", ".", "a\0b"):
        assert by_path(path).status_code == 404, path


def test_a_recording_that_becomes_a_link_is_not_followed(
    jobs_server: HttpServer, tmp_path: Path
) -> None:
    named = tmp_path / "recordings" / "clip.flac"
    # Queued without telling the workers, and replaced before its turn.
    store = store_of(jobs_server)
    job_id = store.new_id()
    store.add(job_id, "127.0.0.1", "clip.flac", FORM, path=str(named), duration_s=None)
    named.unlink()
    named.symlink_to(tmp_path / "secret.flac")
    other = submit(jobs_server.url).json()["id"]
    job = ended(jobs_server.url, job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "file_not_found")
    assert str(tmp_path) not in job["error"]["message"]
    assert ended(jobs_server.url, other)["status"] == "completed"


def test_mistakes_are_found_before_a_job_is_queued(jobs_server: HttpServer, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    broken = submit(jobs_server.url, tmp_path / "broken.wav")
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_audio")
    assert "broken.wav" in broken.json()["error"]["message"]
    assert submit(jobs_server.url, stream="true").status_code == 400
    assert httpx.get(f"{jobs_server.url}/v1/jobs/job_0").status_code == 404
    assert list((tmp_path / "data" / "audio").iterdir()) == []


def test_a_running_job_can_be_cancelled(jobs_server: HttpServer, tmp_path: Path) -> None:
    samples, rate = soundfile.read(CLIP)
    soundfile.write(tmp_path / "long.flac", np.tile(samples, 200), rate)
    job_id = submit(jobs_server.url, tmp_path / "long.flac").json()["id"]
    early = httpx.get(f"{jobs_server.url}/v1/jobs/{job_id}/result")
    assert early.status_code == 409
    cancelled = httpx.post(f"{jobs_server.url}/v1/jobs/{job_id}/cancel").json()
    assert cancelled["status"] == "cancelled"
    again = httpx.post(f"{jobs_server.url}/v1/jobs/{job_id}/cancel")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "job_cancelled")
    next_job = submit(jobs_server.url).json()["id"]
    assert ended(jobs_server.url, next_job)["status"] == "completed"


def test_jobs_wait_for_a_model_that_cannot_be_loaded_yet(
    serve: Callable[..., HttpServer],
    tmp_path: Path,
    expected: Transcript,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_loading, "FIRST_RETRY_S", 0.2)
    folder = tmp_path / "model"
    url = serve(model=str(folder), preload=False, data_dir=tmp_path / "data").url
    job_id = submit(url).json()["id"]
    health: dict[str, Any] = {}
    for _ in range(3000):
        health = httpx.get(f"{url}/health/ready").json()
        if health["status"] == "retrying":
            break
        time.sleep(0.02)
    assert str(folder) in health["reason"]
    time.sleep(0.5)
    assert httpx.get(f"{url}/v1/jobs/{job_id}").json()["status"] in ("queued", "running")
    shutil.copytree(find_model("tiny"), tmp_path / "copy")
    (tmp_path / "copy").rename(folder)  # the disk is mounted
    assert ended(url, job_id)["status"] == "completed"
    assert httpx.get(f"{url}/v1/jobs/{job_id}/result").json()["text"] == expected.text
    assert httpx.get(f"{url}/health/ready").json() == {"status": "ready", "version": __version__}


def test_a_full_disk_delays_jobs_and_loses_none(
    jobs_server: HttpServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(job_runner, "_STORE_RETRY_S", 0.1)
    monkeypatch.setattr(logging.getLogger("megaasr"), "propagate", True)
    clips = [soundfile.read(clip)[0] for clip in sorted(CLIPS.glob("*-clean.flac"))]
    soundfile.write(tmp_path / "long.flac", np.resize(np.concatenate(clips), 16000 * 50), 16000)
    store = store_of(jobs_server)
    limit_pages(store, 1)  # the file of the jobs cannot grow
    job_id = submit(jobs_server.url, tmp_path / "long.flac").json()["id"]
    for _ in range(3000):
        if f"job {job_id} is put back" in caplog.text:
            break
        time.sleep(0.02)
    refused = submit(jobs_server.url, prompt="a " * 4000)
    assert (refused.status_code, refused.json()["error"]["code"]) == (507, "no_space")
    assert httpx.get(f"{jobs_server.url}/v1/jobs/{job_id}").json()["status"] in (
        "queued",
        "running",
    )
    limit_pages(store, 2**31)
    assert ended(jobs_server.url, job_id)["status"] == "completed"
    complete = MegaASR.from_pretrained("tiny").transcribe(tmp_path / "long.flac").text
    assert httpx.get(f"{jobs_server.url}/v1/jobs/{job_id}/result").json()["text"] == complete
    assert list((tmp_path / "data" / "audio").iterdir()) == []


def test_what_cannot_be_stored_changes_nothing(store: JobStore) -> None:
    job_id = queued(store)
    store.take_next()
    limit_pages(store, 1)
    transcript = Transcript("a " * 50_000, "en", 1.0, "tiny")
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError, match="full"):
            store.complete(job_id, [transcript])
    assert store.audio_path(job_id).exists()
    limit_pages(store, 2**31)
    store.complete(job_id, [transcript])
    assert store.transcripts(job_id) == (transcript,)


def test_jobs_do_not_wait_for_a_model_for_ever(
    serve: Callable[..., HttpServer], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    settings: dict[str, Any] = {"preload": False, "job_model_wait_s": 1.5}
    url = serve(model=str(folder), data_dir=tmp_path / "data", **settings).url
    job = ended(url, submit(url).json()["id"])
    assert (job["status"], job["error"]["code"]) == ("failed", "model_not_loaded")
    assert str(folder) in job["error"]["message"]
    assert job["ended_at"] - job["created_at"] >= 1.5


def test_a_data_folder_has_one_server(jobs_server: HttpServer, tmp_path: Path) -> None:
    settings = load_settings(None, {}, {"model": "tiny", "data_dir": tmp_path / "data", "port": 0})
    with pytest.raises(UsageError, match="another server uses"):
        HttpServer(settings)


def test_what_nobody_foresaw_has_openais_shape(
    jobs_server: HttpServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(store_of(jobs_server), "of_client", fail)
    monkeypatch.setattr(logging.getLogger("megaasr"), "propagate", True)
    with caplog.at_level("ERROR"):
        answer = httpx.get(f"{jobs_server.url}/v1/jobs")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert answer.headers["x-request-id"].startswith("req_")
    assert "disk I/O error" not in answer.text
    assert len({(record.created, record.stack_info) for record in caplog.records}) == 1
    assert all(record.exc_info for record in caplog.records)


def test_fields_that_mean_nothing_are_named(jobs_server: HttpServer) -> None:
    response = submit(jobs_server.url, colour="red")
    assert response.headers["x-mega-asr-ignored"] == "colour"
    with CLIP.open("rb") as file:
        response = httpx.post(
            f"{jobs_server.url}/v1/audio/transcriptions",
            files={"file": file},
            data={"path": "clip.flac", "colour": "red"},
            timeout=60,
        )
    assert response.headers["x-mega-asr-ignored"] == "colour, path"


def test_without_a_data_folder_there_are_no_jobs(server: HttpServer) -> None:
    assert submit(server.url).json()["error"]["code"] == "jobs_disabled"


def test_a_job_survives_kill_9(tmp_path: Path, expected: Transcript) -> None:
    clips = [soundfile.read(clip)[0] for clip in sorted(CLIPS.glob("*-clean.flac"))]
    soundfile.write(tmp_path / "long.flac", np.resize(np.concatenate(clips), 16000 * 70), 16000)
    complete = MegaASR.from_pretrained("tiny").transcribe(tmp_path / "long.flac").text
    command = [sys.executable, "-m", "megaasr", "serve", "--model", "tiny", "--port", "0"]
    command += ["--preload", "--data-dir", str(tmp_path / "data"), "--log-level", "warning"]
    command += ["--batch-size", "1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def started() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        return process, process.stdout.readline().removeprefix("listening on ").strip()

    process, url = started()
    try:
        job_id = submit(url, tmp_path / "long.flac").json()["id"]
        for _ in range(3000):
            if httpx.get(f"{url}/v1/jobs/{job_id}").json()["progress"]["done_s"]:
                break
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    process, url = started()
    try:
        assert ended(url, job_id)["status"] == "completed"
        assert httpx.get(f"{url}/v1/jobs/{job_id}/result").json()["text"] == complete
    finally:
        process.terminate()
        process.wait(60)
