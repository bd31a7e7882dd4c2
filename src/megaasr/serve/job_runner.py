"""Transcribes queued jobs, a few at the same time, beside the requests of clients that wait."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TypeVar

from megaasr.serve.error_responses import as_request_error
from megaasr.serve.job_store import Job, JobStore
from megaasr.serve.model_loading import ModelNotLoadedError
from megaasr.serve.transcription_run import TranscriptionRun

StartRun = Callable[[Job, Path], TranscriptionRun]
"""Returns a run for a job, given its recording."""

_CLEANING_S = 60.0
_MIN_RETRY_S = 1.0  # between attempts at a job while the model cannot be loaded
_STORE_RETRY_S = 5.0
"""Seconds after which what could not be stored is tried again, on a full disk for example."""
Result = TypeVar("Result")
_LOGGER = logging.getLogger(__name__)


class JobRunner:
    """Works on the jobs of a store, from `start` to `stop`.

    Args:
        store: the jobs.
        parallel: number of jobs that are transcribed at the same time.
        expiry_s: seconds that an ended job is kept.
        model_wait_s: seconds that a job waits for a model that cannot be loaded, before it fails.
        start_run: begins to transcribe.
    """

    def __init__(
        self,
        store: JobStore,
        *,
        parallel: int,
        expiry_s: float,
        model_wait_s: float,
        start_run: StartRun,
    ) -> None:
        self._store = store
        self._parallel = parallel
        self._expiry_s = expiry_s
        self._model_wait_s = model_wait_s
        self._start_run = start_run
        self._changed = asyncio.Event()
        self._runs: dict[str, TranscriptionRun] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Continue what an earlier process left, and wait for jobs."""
        self._store.recover()
        workers = [self._work() for _ in range(self._parallel)]
        self._tasks = [asyncio.create_task(task) for task in (*workers, self._clean())]

    async def stop(self) -> None:
        """End; jobs that run stay in the store and are continued after the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def notify(self) -> None:
        """Tell the workers that a job was added."""
        self._changed.set()

    def cancel(self, job_id: str) -> bool:
        """Cancel a job; return whether it had not ended before."""
        changed = self._store.cancel(job_id)
        if (run := self._runs.get(job_id)) is not None:
            run.cancel(CancelledError(f"job {job_id} was cancelled"))
        return changed

    async def _work(self) -> None:
        while True:
            self._changed.clear()
            job = await self._stored(self._store.take_next)
            if job is None:
                await self._changed.wait()
                continue
            try:
                await self._transcribe(job)
            except Exception:
                _LOGGER.exception("job %s could not be recorded", job.id)

    async def _transcribe(self, job: Job) -> None:
        path = self._store.audio_path(job.id) if job.path is None else Path(job.path)
        error: Exception | None = None
        _LOGGER.info("job started", extra={"job": job.id, "client": job.client})
        try:
            async with self._start_run(job, path) as run:
                self._runs[job.id] = run
                async for segment in run.segments():
                    self._store.advance(job.id, segment.chunk_end or segment.end)
                transcripts = await run.transcripts()
        except CancelledError:  # by its client, or because the server stops: it is continued then
            return
        except ModelNotLoadedError as failure:
            waited_s = time.time() - max(failure.since, job.created)
            if not failure.is_final and waited_s < self._model_wait_s:
                await self._stored(lambda: self._store.put_back(job.id))
                retry_s = min(failure.retry_after_s or 0.0, self._model_wait_s - waited_s)
                await asyncio.sleep(max(_MIN_RETRY_S, retry_s))
                return
            error = failure
        except sqlite3.OperationalError as failure:  # it goes on behind what could be stored
            _LOGGER.error("job %s is put back: %s", job.id, failure)
            await asyncio.sleep(_STORE_RETRY_S)
            await self._stored(lambda: self._store.put_back(job.id))
            return
        except Exception as failure:
            error = failure
        finally:
            self._runs.pop(job.id, None)
        if error is not None:
            failed = as_request_error(error, names={str(path): job.name}).body()["error"]
            await self._stored(lambda: self._store.fail(job.id, failed))
        else:
            await self._stored(lambda: self._store.complete(job.id, transcripts))
        _LOGGER.info("job ended", extra={"job": job.id, "failed": error is not None})

    async def _stored(self, change: Callable[[], Result]) -> Result:
        """Make a change of the store; as long as it cannot be written, try again.

        Without it a job would be lost to the running process: nobody looks for jobs that are
        marked as running.
        """
        while True:
            try:
                return change()
            except sqlite3.OperationalError as error:
                _LOGGER.error(
                    "the jobs cannot be stored: %s; next attempt in %.0f s", error, _STORE_RETRY_S
                )
            await asyncio.sleep(_STORE_RETRY_S)

    async def _clean(self) -> None:
        while True:
            await self._stored(lambda: self._store.expire(time.time() - self._expiry_s))
            await asyncio.sleep(_CLEANING_S)
