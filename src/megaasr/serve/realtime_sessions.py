"""The realtime sessions of a server: opened, left, resumed, and ended."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.model.shared_model import SharedModelClient
from megaasr.serve.error_responses import RequestError
from megaasr.serve.realtime_protocol import SessionSettings
from megaasr.serve.realtime_session import RealtimeSession
from megaasr.serve.served_model import ServedModel
from megaasr.serve.session_journal import SessionJournal, read_journal
from megaasr.serve.session_notices import ModelChangedError
from megaasr.serve.settings import ServerSettings
from megaasr.serve.transcription_form import TranscriptionRequest
from megaasr.stream.options import StreamOptions
from megaasr.stream.session import StreamSession
from megaasr.transcribe.speech_activity import detect_speech

MAX_DOWNTIME_S = 3600.0
"""Sessions of a process that ended longer ago cannot be resumed: their clients have given up."""
_MIN_SILENCE_S, _MAX_SILENCE_S = 0.1, 5.0
_MIN_THRESHOLD, _MAX_THRESHOLD = 0.05, 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Attachment:
    """The use of a session by one connection.

    Attributes:
        session: the session.
        token: its secret name.
        replaced: set when another connection has resumed the session, because the client lost this
            one and the server has not noticed it yet.
    """

    session: RealtimeSession
    token: str
    replaced: asyncio.Event


@dataclass(slots=True)
class _Entry:
    """A session with who may resume it.

    Attributes:
        session: the session.
        client: who opened it.
        attachment: the connection that uses it; None after it was lost.
        expiry: ends it when nobody has resumed it in time.
        restoring: receives what a journal holds; None if the session was opened in this process.
    """

    session: RealtimeSession
    client: str
    attachment: Attachment | None = None
    expiry: asyncio.Task[None] | None = None
    restoring: asyncio.Task[None] | None = None


class RealtimeSessions:
    """All sessions of a server.

    A session is named by a secret token, of which a journal keeps a hash only.

    Args:
        settings: the operator's settings.
        model: the model.
    """

    def __init__(self, settings: ServerSettings, model: ServedModel) -> None:
        self._settings = settings
        self._model = model
        self._entries: dict[str, _Entry] = {}
        self._executor = ThreadPoolExecutor(settings.max_sessions, thread_name_prefix="realtime")
        self._cleaning: asyncio.Task[None] | None = None
        self._folder: Path | None = None
        if settings.data_dir is not None and settings.journal_audio:
            self._folder = settings.data_dir / "sessions"

    @property
    def count(self) -> int:
        """Number of sessions, those that were left included."""
        return len(self._entries)

    def start(self) -> None:
        """Give the sessions of the last process time to be resumed; called in the event loop."""
        if self._folder is None or not self._folder.is_dir():
            return
        latest = time.time() - MAX_DOWNTIME_S
        for folder in self._folder.iterdir():
            if folder.is_dir() and _last_change(folder) < latest:
                shutil.rmtree(folder, ignore_errors=True)
        self._cleaning = asyncio.create_task(self._clean(self._folder))

    def open(self, client: str) -> Attachment:
        """Open a session.

        Raises:
            RequestError: 429, there are too many.
        """
        if self.count >= self._settings.max_sessions:
            raise RequestError(
                429,
                f"{self.count} realtime sessions are open; try again later",
                code="too_many_sessions",
                retry_after_s=5,
            )
        token = f"sess_{secrets.token_urlsafe(24)}"
        return self._attach(token, self._create(token, client))

    async def resume(self, token: str, client: str, after: int) -> Attachment:
        """Return a session whose connection was lost; from its journal after a restart.

        Args:
            token: its secret name.
            client: who resumes it.
            after: number of the last event that the client has received.

        Raises:
            RequestError: 404, there is none, or it has ended; 409, it has no such event.
        """
        entry = self._entries.get(token) or self._restore(token, client)
        if entry is None or not hmac.compare_digest(entry.client.encode(), client.encode()):
            raise RequestError(
                404,
                "there is no such session, or it has ended; open a new one and send its audio "
                "again",
                code="session_not_found",
            )
        if entry.restoring is not None:
            # Two connections may wait for it, and the first may be lost before the end.
            await asyncio.shield(entry.restoring)
        if after > (last := entry.session.last_number):
            raise RequestError(
                409,
                f"this session has no event {after}; its last one is {last}",
                param="after",
                code="event_not_found",
            )
        if entry.expiry is not None:
            entry.expiry.cancel()
        if entry.attachment is not None:
            entry.attachment.replaced.set()
        return self._attach(token, entry)

    async def leave(self, attachment: Attachment, *, ended: bool) -> None:
        """Note that a connection was closed.

        Args:
            attachment: the connection's use of its session.
            ended: by the client, on purpose.
        """
        entry = self._entries.get(attachment.token)
        if entry is None or entry.attachment is not attachment:
            return
        if ended or not self._settings.resume_s:
            await entry.session.close()
            return
        entry.attachment = None
        entry.expiry = asyncio.create_task(self._expire(entry))

    async def close(self) -> None:
        """End all sessions; those with a journal can be resumed after the next start."""
        if self._cleaning is not None:
            self._cleaning.cancel()
        for entry in list(self._entries.values()):
            if entry.expiry is not None:
                entry.expiry.cancel()
            await entry.session.close(keep_journal=True)

    def shutdown(self) -> None:
        """Wait for the threads."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    async def _clean(self, sessions: Path) -> None:
        """Delete the journals of the last process that nobody resumed."""
        left_behind = set(sessions.iterdir())
        await asyncio.sleep(self._settings.resume_s)
        for folder in left_behind - {self._journal_folder(token) for token in self._entries}:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _expire(self, entry: _Entry) -> None:
        if entry.restoring is not None:
            await asyncio.wait([entry.restoring])
        await asyncio.sleep(self._settings.resume_s)
        await entry.session.close()

    def _attach(self, token: str, entry: _Entry) -> Attachment:
        entry.attachment = Attachment(entry.session, token, asyncio.Event())
        return entry.attachment

    def _create(self, token: str, client: str) -> _Entry:
        journal: SessionJournal | None = None
        folder = self._journal_folder(token)
        if folder is not None:
            journal = SessionJournal(folder, int(self._settings.max_journal_mb * 1e6))
            write_atomically(folder / "owner.json", strict_json.dumps({"client": client}))
        model = (
            self._model.client(client, live=True) if self._model.status.state == "ready" else None
        )
        clients = [model] if model is not None else []

        def open_stream(settings: SessionSettings) -> StreamSession:
            if not clients:  # the model was being loaded
                clients.append(self._model.client(client, live=True))
            if journal is not None and not journal.is_of_model(self._model_identity()):
                raise ModelChangedError
            return self._open_stream(settings, clients[0])

        def on_end() -> None:
            self._entries.pop(token, None)
            for shared_client in clients:
                shared_client.close()

        session = RealtimeSession(
            f"session_{hashlib.sha256(token.encode()).hexdigest()[:24]}",
            open_stream,
            self._executor,
            journal=journal,
            check=self._check,
            on_end=on_end,
        )
        self._entries[token] = _Entry(session, client)
        return self._entries[token]

    def _check(self, settings: SessionSettings) -> None:
        """Raise a `RequestError` if the model is another one, or cannot do what is asked for."""
        self._model.require_name(settings.audio.input.transcription.model)
        self._model.require_route(settings.route)

    def _restore(self, token: str, client: str) -> _Entry | None:
        """Begin to restore a session of the last process; None if the client has none."""
        folder = self._journal_folder(token)
        journaled = None if folder is None else read_journal(folder)
        if folder is None or journaled is None or _owner(folder) != client:
            return None
        entry = self._create(token, client)
        entry.restoring = asyncio.create_task(entry.session.replay(journaled))
        entry.expiry = asyncio.create_task(self._expire(entry))
        return entry

    def _model_identity(self) -> str:
        """Return what texts depend on, apart from the session's own settings."""
        options = self._model.options
        values = (self._model.identity(), options.route, options.threshold)
        return hashlib.sha256(strict_json.dumps(values).encode()).hexdigest()

    def _open_stream(self, settings: SessionSettings, client: SharedModelClient) -> StreamSession:
        audio = settings.audio.input
        speech = audio.transcription
        turns = audio.turn_detection
        terms = filter(None, (speech.prompt, *(speech.keywords or ())))
        request = TranscriptionRequest(route=settings.route)
        return StreamSession(
            self._model.recognizer(client, request, detect_speech),
            StreamOptions(
                sample_rate=audio.format.sample_rate,
                language=speech.forced_language,
                context=", ".join(terms),
                end_silence_s=_within(
                    0.5 if turns is None else turns.silence_duration_ms / 1000,
                    _MIN_SILENCE_S,
                    _MAX_SILENCE_S,
                ),
                threshold=_within(
                    0.5 if turns is None else turns.threshold, _MIN_THRESHOLD, _MAX_THRESHOLD
                ),
                partials=settings.has_partials,
            ),
        )

    def _journal_folder(self, token: str) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / hashlib.sha256(token.encode()).hexdigest()


def _last_change(folder: Path) -> float:
    """Return when a journal was last written, in seconds since 1970."""
    return max((file.stat().st_mtime for file in folder.iterdir()), default=0.0)


def _owner(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / "owner.json").read_text(encoding="utf-8"))["client"])
    except (OSError, ValueError, KeyError):
        return None


def _within(value: float, least: float, most: float) -> float:
    return min(max(value, least), most)
