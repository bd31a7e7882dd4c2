"""Jobs and what they have decoded so far, in an SQLite file that survives the process."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter

from megaasr import strict_json
from megaasr.model.interface import Recognition
from megaasr.records import Transcript
from megaasr.serve.transcription_form import TranscriptionForm

JobStatus = Literal["queued", "running", "completed", "failed", "cancelled"]
"""States of a job; the last three do not change any more."""
ENDED: tuple[JobStatus, ...] = ("completed", "failed", "cancelled")

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, client TEXT NOT NULL, name TEXT NOT NULL, form TEXT NOT NULL, path TEXT,
    status TEXT NOT NULL, created REAL NOT NULL, started REAL, ended REAL,
    duration_s REAL, done_s REAL NOT NULL DEFAULT 0, error TEXT, transcripts TEXT
);
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (status, client);
CREATE TABLE IF NOT EXISTS recognitions (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, key TEXT NOT NULL,
    result TEXT NOT NULL, PRIMARY KEY (job, key)
) WITHOUT ROWID;
"""
_COLUMNS = (
    "id, client, name, form, path, status, created, started, ended, duration_s, done_s, error"
)
# Clients take turns: next is one that has waited the longest since a job of its was started.
_NEXT = """
UPDATE jobs SET status = 'running', started = ? WHERE id = (
    SELECT id FROM jobs AS waiting WHERE status = 'queued' ORDER BY
        (SELECT MAX(started) FROM jobs WHERE client = waiting.client) NULLS FIRST, created, id
    LIMIT 1
) RETURNING id
"""
# A measured value may be infinite, which JSON has no number for.
_JSON = ConfigDict(ser_json_inf_nan="strings")
_TRANSCRIPTS = TypeAdapter(tuple[Transcript, ...], config=_JSON)
_RECOGNITIONS = TypeAdapter(list[list[Recognition]], config=_JSON)


@dataclass(frozen=True, slots=True)
class Job:
    """A recording that is transcribed in the background.

    Attributes:
        id: its identifier.
        client: who sent it; nobody else can see it.
        name: what the sender calls the recording.
        form: the fields of the request.
        path: the recording on this machine, if the sender named one; None for an upload.
        status: its state.
        created, started, ended: seconds since 1970; None for what has not happened.
        duration_s: length that the recording states, or has; None if it is unknown.
        done_s: seconds of it that are transcribed.
        error: body of the error response; None without error.
    """

    id: str
    client: str
    name: str
    form: TranscriptionForm
    path: str | None
    status: JobStatus
    created: float
    started: float | None
    ended: float | None
    duration_s: float | None
    done_s: float
    error: dict[str, Any] | None


class JobStore:
    """The jobs of a server. Its methods may be called from any thread.

    Args:
        folder: an existing folder, which holds the file and the uploaded recordings.

    Raises:
        sqlite3.Error: the file is not a store.
    """

    def __init__(self, folder: Path) -> None:
        self._audio = folder / "audio"
        self._audio.mkdir(exist_ok=True)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            folder / "jobs.sqlite", check_same_thread=False, isolation_level=None
        )
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(_SCHEMA)
        self._connection.execute(f"PRAGMA user_version = {_VERSION}")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def recover(self) -> None:
        """After a start: queue again what was running, and delete recordings without a job."""
        with self._transaction() as run:
            run("UPDATE jobs SET status = 'queued' WHERE status = 'running'")
            jobs = {row[0] for row in run("SELECT id FROM jobs WHERE status = 'queued'")}
        for file in self._audio.iterdir():
            if file.name not in jobs:
                file.unlink(missing_ok=True)

    def new_id(self) -> str:
        """Return an identifier that nobody can guess."""
        return f"job_{secrets.token_hex(16)}"

    def audio_path(self, job_id: str) -> Path:
        """Return where the uploaded recording of a job lies."""
        return self._audio / job_id

    def add(
        self,
        job_id: str,
        client: str,
        name: str,
        form: TranscriptionForm,
        *,
        path: str | None,
        duration_s: float | None,
    ) -> Job:
        """Queue a job, whose recording is complete."""
        with self._transaction() as run:
            run(
                "INSERT INTO jobs (id, client, name, form, path, status, created, duration_s) "
                "VALUES (?, ?, ?, ?, ?, 'queued', ?, ?)",
                (job_id, client, name, form.model_dump_json(), path, time.time(), duration_s),
            )
        job = self.get(job_id)
        assert job is not None
        return job

    def get(self, job_id: str) -> Job | None:
        """Return a job; None if there is none with this identifier."""
        with self._transaction() as run:
            row = run(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return None if row is None else _job(row)

    def of_client(self, client: str, limit: int) -> list[Job]:
        """Return the latest jobs of a client, the latest first."""
        with self._transaction() as run:
            rows = run(
                f"SELECT {_COLUMNS} FROM jobs WHERE client = ? ORDER BY created DESC, id LIMIT ?",
                (client, limit),
            ).fetchall()
        return [_job(row) for row in rows]

    def count(self, *statuses: JobStatus) -> int:
        """Return the number of jobs in any of these states."""
        marks = ", ".join("?" for _ in statuses)
        with self._transaction() as run:
            query = f"SELECT COUNT(*) FROM jobs WHERE status IN ({marks})"
            return int(run(query, statuses).fetchone()[0])

    def take_next(self) -> Job | None:
        """Mark the next queued job as running and return it; None if none is queued."""
        with self._transaction() as run:
            row = run(_NEXT, (time.time(),)).fetchone()
        return None if row is None else self.get(row[0])

    def put_back(self, job_id: str) -> None:
        """Queue a running job again, as if it had not had its turn."""
        with self._transaction() as run:
            run(
                "UPDATE jobs SET status = 'queued', started = NULL "
                "WHERE id = ? AND status = 'running'",
                (job_id,),
            )

    def advance(self, job_id: str, done_s: float) -> None:
        """Note how many seconds of a recording are transcribed."""
        with self._transaction() as run:
            run("UPDATE jobs SET done_s = ? WHERE id = ?", (done_s, job_id))

    def complete(self, job_id: str, transcripts: Sequence[Transcript]) -> None:
        """Store the result of a job, unless it was cancelled, and delete what it is made from."""
        document = _TRANSCRIPTS.dump_json(tuple(transcripts)).decode()
        duration_s = max(transcript.duration_s for transcript in transcripts)
        with self._transaction() as run:
            run(
                "UPDATE jobs SET transcripts = ?, duration_s = ?, done_s = ? "
                "WHERE id = ? AND status = 'running'",
                (document, duration_s, duration_s, job_id),
            )
            self._end(run, job_id, "completed")
        self.audio_path(job_id).unlink(missing_ok=True)

    def fail(self, job_id: str, error: dict[str, Any]) -> None:
        """Store why a job failed, and delete what it is made from."""
        with self._transaction() as run:
            run("UPDATE jobs SET error = ? WHERE id = ?", (strict_json.dumps(error), job_id))
            self._end(run, job_id, "failed")
        self.audio_path(job_id).unlink(missing_ok=True)

    def cancel(self, job_id: str) -> bool:
        """Cancel a job; return whether it had not ended before."""
        with self._transaction() as run:
            changed = self._end(run, job_id, "cancelled")
        self.audio_path(job_id).unlink(missing_ok=True)
        return changed

    def delete(self, job_id: str) -> None:
        """Delete a job with its recording and its result."""
        with self._transaction() as run:
            run("DELETE FROM jobs WHERE id = ?", (job_id,))
        self.audio_path(job_id).unlink(missing_ok=True)

    def expire(self, before: float) -> None:
        """Delete the jobs that ended before a time, in seconds since 1970."""
        with self._transaction() as run:
            run("DELETE FROM jobs WHERE ended < ?", (before,))

    def transcripts(self, job_id: str) -> tuple[Transcript, ...]:
        """Return the result of a completed job."""
        with self._transaction() as run:
            (document,) = run("SELECT transcripts FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return _TRANSCRIPTS.validate_json(document)

    def recognitions(self, job_id: str, key: str) -> list[list[Recognition]] | None:
        """Return what a job decoded under a key; None if it has not yet."""
        with self._transaction() as run:
            row = run(
                "SELECT result FROM recognitions WHERE job = ? AND key = ?", (job_id, key)
            ).fetchone()
        return None if row is None else _RECOGNITIONS.validate_json(row[0])

    def keep_recognitions(
        self, job_id: str, results: Sequence[tuple[str, Sequence[Sequence[Recognition]]]]
    ) -> None:
        """Store what a job decoded, each with its key; nothing if the job was deleted."""
        rows = [
            (key, _RECOGNITIONS.dump_json([list(group) for group in groups]).decode(), job_id)
            for key, groups in results
        ]
        with self._transaction() as run:
            for row in rows:
                run(
                    "INSERT OR REPLACE INTO recognitions (key, result, job) "
                    "SELECT ?, ?, id FROM jobs WHERE id = ?",
                    row,
                )

    def _end(self, run: Any, job_id: str, status: JobStatus) -> bool:
        changed = run(
            "UPDATE jobs SET status = ?, ended = ? "
            "WHERE id = ? AND status IN ('queued', 'running')",
            (status, time.time(), job_id),
        ).rowcount
        run("DELETE FROM recognitions WHERE job = ?", (job_id,))
        return bool(changed)

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Yield a function that runs statements of one transaction.

        Raises:
            sqlite3.OperationalError: the disk is full, for example; nothing has changed.
        """
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite ends some itself, on a full disk
                    self._connection.execute("ROLLBACK")
                raise


def _job(row: tuple[Any, ...]) -> Job:
    job_id, client, name, form, path, status, *times, duration_s, done_s, error = row
    created, started, ended = times
    return Job(
        job_id,
        client,
        name,
        TranscriptionForm.model_validate_json(form),
        path,
        status,
        created,
        started,
        ended,
        duration_s,
        done_s,
        None if error is None else json.loads(error),
    )
