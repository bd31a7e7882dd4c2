"""What the handlers of a server share, from its start to its end."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from starlette.requests import HTTPConnection

from megaasr.errors import UsageError
from megaasr.locking import exclusive
from megaasr.serve.admission import AdmissionQueue
from megaasr.serve.job_runner import JobRunner
from megaasr.serve.job_store import Job, JobStore
from megaasr.serve.limits import AudioLimits
from megaasr.serve.metrics import Metrics
from megaasr.serve.named_recordings import path_below
from megaasr.serve.realtime_sessions import RealtimeSessions
from megaasr.serve.recognition_journal import JournaledModel
from megaasr.serve.served_model import ServedModel
from megaasr.serve.settings import ServerSettings
from megaasr.serve.transcription_run import TranscriptionRun
from megaasr.serve.uploads import UploadReader


@dataclass(frozen=True, slots=True)
class Jobs:
    """What runs jobs.

    Attributes:
        store: the jobs.
        runner: works on them.
    """

    store: JobStore
    runner: JobRunner


@dataclass(slots=True)
class Services:
    """The parts of a running server.

    Attributes:
        settings: the operator's settings.
        model: the model.
        admission: whose turn it is.
        uploads: reads uploads.
        limits: limits of recordings.
        executor: threads in which recordings are transcribed.
        metrics: what is counted.
        realtime: the realtime sessions.
        jobs: what runs jobs; None without a data folder, or before `start`.
    """

    settings: ServerSettings
    model: ServedModel
    admission: AdmissionQueue
    uploads: UploadReader
    limits: AudioLimits
    executor: ThreadPoolExecutor
    metrics: Metrics
    realtime: RealtimeSessions
    jobs: Jobs | None = None
    _folder: ExitStack = field(default_factory=ExitStack)  # holds the lock of the data folder

    @classmethod
    def create(cls, settings: ServerSettings) -> Self:
        """Return the parts of a server; the model is not loaded yet.

        Raises:
            UsageError: the model's options or the data folder cannot be used.
        """
        folder = ExitStack()
        if settings.data_dir is not None:
            _lock_folder(settings.data_dir, folder)
        model = ServedModel(settings.model_options(), settings.aliases)
        admission = AdmissionQueue(
            settings.max_requests, settings.max_queue, settings.max_queue_per_client
        )
        realtime = RealtimeSessions(settings, model)
        # A request that was cancelled gives up its turn at once, but its thread remains until the
        # batch that it is part of is decoded.
        threads = settings.max_requests + settings.parallel_jobs + settings.batch_size
        return cls(
            settings,
            model,
            admission,
            UploadReader(
                settings.max_uploads, settings.max_uploads_per_client, settings.upload_timeout_s
            ),
            AudioLimits(settings.max_audio_s, settings.max_channels),
            ThreadPoolExecutor(threads, thread_name_prefix="transcription"),
            Metrics(
                model.use,
                (
                    ("running_requests", "Requests that run.", lambda: admission.running),
                    ("waiting_requests", "Requests that wait.", lambda: admission.waiting),
                    ("realtime_sessions", "Realtime sessions.", lambda: realtime.count),
                ),
            ),
            realtime,
            _folder=folder,
        )

    def start(self) -> None:
        """Begin to work on jobs; called in the event loop.

        Raises:
            UsageError: the file of the jobs is damaged.
        """
        self.realtime.start()
        if self.settings.data_dir is None:
            return
        try:
            store = JobStore(self.settings.data_dir)
        except sqlite3.Error as error:
            raise UsageError(
                f"{self.settings.data_dir / 'jobs.sqlite'} cannot be used: {error}; move it away"
            ) from error
        runner = JobRunner(
            store,
            parallel=self.settings.parallel_jobs,
            expiry_s=self.settings.job_expiry_h * 3600,
            model_wait_s=self.settings.job_model_wait_s,
            start_run=self._start_job,
        )
        self.jobs = Jobs(store, runner)
        runner.start()

    async def close(self) -> None:
        """Cancel what is not done, and wait for the threads."""
        if self.jobs is not None:
            await self.jobs.runner.stop()
        await self.realtime.close()
        self.model.close()
        self.executor.shutdown(wait=True, cancel_futures=True)
        self.realtime.shutdown()
        if self.jobs is not None:
            self.jobs.store.close()
        self._folder.close()

    def _start_job(self, job: Job, path: Path) -> TranscriptionRun:
        """Begin to transcribe the recording of a job.

        Raises:
            RequestError: 404, the recording is not in the folder any more.
        """
        assert self.jobs is not None
        store = self.jobs.store
        if job.path is not None:  # it may have become a link since the job was queued
            path = path_below(self.settings, job.path)
        return TranscriptionRun(
            self.model,
            path,
            job.form.request(self.settings.max_samples),
            owner=job.client,
            limits=self.limits,
            executor=self.executor,
            wrap=lambda model: JournaledModel(model, store, job.id, self.model.identity()),
        )


def _lock_folder(folder: Path, resources: ExitStack) -> None:
    """Create the data folder and keep other servers out of it.

    Raises:
        UsageError: it cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        refusal = UsageError(f"another server uses {folder}; give each its own --data-dir")
        resources.enter_context(exclusive(folder, refusal))
    except OSError as error:
        raise UsageError(f"{folder} cannot be used as --data-dir: {error.strerror}") from error


def services_of(connection: HTTPConnection) -> Services:
    """Return the parts of the server that received a request."""
    services = connection.app.state.services
    assert isinstance(services, Services)
    return services


def client_of(connection: HTTPConnection) -> str:
    """Return who sent a request: the name of the API key, or an address."""
    return str(connection.state.client)


def log_extra(connection: HTTPConnection, **fields: object) -> None:
    """Add fields to the log's line of a request."""
    connection.state.log.update(fields)
