"""One realtime session: audio and commands in, numbered events out. It outlives its connection."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Executor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megaasr.serve.error_responses import RequestError, as_request_error
from megaasr.serve.model_loading import ModelNotLoadedError
from megaasr.serve.realtime_events import EventTranslator, ServerEvent
from megaasr.serve.realtime_protocol import (
    BufferAppend,
    BufferCommit,
    ClientEvent,
    SessionSettings,
    SessionUpdate,
    parse_client_event,
    updated,
)
from megaasr.serve.session_journal import JournaledSession, SessionJournal
from megaasr.stream.events import Event
from megaasr.stream.session import StreamSession

OpenStream = Callable[[SessionSettings], StreamSession]
"""Opens a live session with the settings of a realtime session."""

_MAX_WAITING = 256
"""Events of the client that wait to be processed before no more are read."""
_MAX_KEPT = 10_000
"""Events for the client that are kept, so that it can ask for them again."""
_MODEL_RETRY_S = 1.0
"""Seconds after which a session asks again for a model that could not be loaded."""
_WITHOUT_ITEM = ("session.updated", "input_audio_buffer.cleared")
"""Events that are made again when a journal is replayed; the translator knows about the others."""


class RealtimeSession:
    """Transcribes what a client sends, in the order in which it was sent.

    Args:
        session_id: its identifier.
        open_stream: opens a live session.
        executor: threads in which the model is waited for.
        journal: keeps what is received and sent; None without a journal.
        on_end: called when the session has ended, however it came.

    Attributes:
        session_id: its identifier.
        settings: its settings.
        frames: number of audio frames that were accepted.
    """

    def __init__(
        self,
        session_id: str,
        open_stream: OpenStream,
        executor: Executor,
        *,
        journal: SessionJournal | None = None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.session_id = session_id
        self.settings = SessionSettings()
        self.frames = 0
        self._open_stream = open_stream
        self._executor = executor
        self._journal = journal
        self._on_end = on_end
        self._translator = EventTranslator(f"item_{session_id[-12:]}_")
        self._stream: StreamSession | None = None
        self._utterances = 0  # of the present live session
        self._uncommitted_s = 0.0
        self._waiting: asyncio.Queue[ClientEvent] = asyncio.Queue()
        self._taken = asyncio.Event()  # set when one of them was
        self._events: deque[ServerEvent] = deque(maxlen=_MAX_KEPT)
        self._number = 0
        self._repeated: Counter[str] = Counter()  # sent before the process was killed
        self._changed = asyncio.Condition()
        self._ended = False
        self._is_told_full = False  # that its journal is
        self._is_broken_off = False  # it cannot be continued after a restart
        self._worker = asyncio.create_task(self._work())

    @property
    def last_number(self) -> int:
        """Number of the latest event."""
        return self._number

    @property
    def survives_restart(self) -> bool:
        """Whether it can be resumed after the server's process has ended."""
        return self._journal is not None and self._journal.is_complete

    @property
    def is_broken_off(self) -> bool:
        """Whether the process that it was opened in has ended, and it cannot be continued."""
        return self._is_broken_off

    async def receive(self, text: str) -> None:
        """Accept an event of the client; waits while too many are not processed.

        Raises:
            RequestError: the event is not valid, or the session cannot be continued; nothing of it
                was accepted.
        """
        if self._is_broken_off:
            raise _broken_off(None)
        event = parse_client_event(text)
        if self._is_repeated(event):
            return
        self._check(event)
        if self._journal is not None:
            self._journal.add_received(text)
            if not (self._journal.is_complete or self._is_told_full):
                self._is_told_full = True
                await self.emit(_JOURNAL_FULL)
        await self._accept(event)

    async def replay(self, journaled: JournaledSession) -> None:
        """Receive again what a journal holds; events that were sent are not made again.

        Of a journal that is not complete the events can be had, and a last one that tells from
        where on the audio has to be sent again, in another session.
        """
        self._repeated.update(event["type"] for event in journaled.sent)
        for sent in journaled.sent:
            self._translator.restore(sent)
            self._events.append(sent)
            self._number = _number(sent)
        if not journaled.is_complete:
            self._is_broken_off = True
            error = error_event(_broken_off(_transcribed_s(journaled.sent)))
            if not journaled.sent or journaled.sent[-1].get("error") != error["error"]:
                await self.emit(error)
            return
        events = await asyncio.to_thread(lambda: [*map(parse_client_event, journaled.received)])
        # All of them at once: the client is told at once where to go on, and waits for no model.
        for event in events:
            self.frames += isinstance(event, BufferAppend)
            if isinstance(event, SessionUpdate):
                self.settings = updated(self.settings, event.session)
            self._waiting.put_nowait(event)

    async def emit(self, event: ServerEvent) -> None:
        """Number an event and make it available to the client."""
        if event["type"] in _WITHOUT_ITEM and self._repeated[event["type"]]:
            self._repeated[event["type"]] -= 1
            return
        self._number += 1
        numbered = {"event_id": f"event_{self._number}", **event}
        if self._journal is not None:
            self._journal.add_sent(numbered)
        self._events.append(numbered)
        async with self._changed:
            self._changed.notify_all()

    async def events(self, after: int) -> AsyncIterator[ServerEvent]:
        """Yield the events after a number, as they come, until the session ends.

        Raises:
            RequestError: they are not kept any more.
        """
        position = after
        while True:
            oldest = self._number - len(self._events)
            if position < oldest:
                raise RequestError(
                    409, f"events before {oldest + 1} are not kept any more", code="events_lost"
                )
            following = [event for event in self._events if _number(event) > position]
            for event in following:
                position = _number(event)
                yield event
            if not following:
                if self._ended or self._is_broken_off:
                    return
                await self._wait_after(position)

    async def close(self, *, keep_journal: bool = False) -> None:
        """End the session.

        Args:
            keep_journal: the process ends, and the session is continued by the next.
        """
        if self._ended:
            return
        self._ended = True
        self._taken.set()
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        if self._journal is not None:
            if keep_journal:
                self._journal.close()
            else:
                self._journal.delete()
        self._on_end()
        async with self._changed:
            self._changed.notify_all()

    async def _wait_after(self, position: int) -> None:
        """Wait for an event after a number, or for the end."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._number > position or self._ended)

    def _is_repeated(self, event: ClientEvent) -> bool:
        """Return whether a frame was accepted before the connection was lost."""
        if not isinstance(event, BufferAppend) or event.sequence is None:
            return False
        if event.sequence > self.frames + 1:
            raise RequestError(
                400,
                f"frame {event.sequence} follows frame {self.frames}; send those between first",
                param="sequence",
                code="frames_missing",
            )
        return event.sequence <= self.frames

    def _check(self, event: ClientEvent) -> None:
        if isinstance(event, BufferAppend):
            self.settings.audio.input.format.decode(event.audio)
        elif isinstance(event, SessionUpdate):
            self.settings = updated(self.settings, event.session)

    async def _accept(self, event: ClientEvent) -> None:
        self.frames += isinstance(event, BufferAppend)
        self._waiting.put_nowait(event)
        while self._waiting.qsize() > _MAX_WAITING and not self._ended:
            self._taken.clear()
            await self._taken.wait()

    async def _work(self) -> None:
        settings = self.settings
        while True:
            event = await self._waiting.get()
            self._taken.set()
            try:
                if isinstance(event, SessionUpdate):
                    settings = updated(settings, event.session)
                    await self._update(settings)
                elif isinstance(event, BufferAppend):
                    await self._feed(settings, settings.audio.input.format.decode(event.audio))
                elif isinstance(event, BufferCommit):
                    await self._commit(settings)
                else:
                    await self._clear()
            except CancelledError:
                return  # the server stops
            except Exception as error:
                await self._fail(error)

    async def _update(self, settings: SessionSettings) -> None:
        await self._finish(settings)
        await self.emit({"type": "session.updated", "session": self.describe(settings)})

    async def _feed(self, settings: SessionSettings, samples: NDArray[np.int16]) -> None:
        if self._stream is None:
            self._stream = await self._opened(settings)
            self._utterances = 0
        stream = self._stream
        self._uncommitted_s += len(samples) / stream.options.sample_rate
        await self._emit_all(settings, await self._in_thread(lambda: stream.feed(samples)))

    async def _opened(self, settings: SessionSettings) -> StreamSession:
        """Return a new live session; waits, with the audio, for a model that may still be loaded.

        Raises:
            ModelNotLoadedError: it is not tried again.
        """
        is_told = False
        while True:
            try:
                stream: StreamSession = await self._in_thread(lambda: self._open_stream(settings))
                return stream
            except ModelNotLoadedError as error:
                if error.is_final:
                    raise
                if not is_told:
                    await self._fail(error)
                is_told = True
            await asyncio.sleep(_MODEL_RETRY_S)

    async def _commit(self, settings: SessionSettings) -> None:
        if self._stream is None or not self._uncommitted_s:
            raise RequestError(
                400, "there is no audio to commit", code="input_audio_buffer_commit_empty"
            )
        seconds, self._uncommitted_s = self._uncommitted_s, 0.0
        await self._finish(settings)
        if settings.audio.input.turn_detection is None:
            for event in self._translator.commit(seconds):
                await self.emit(event)
            self._translator.next_stream(1, 0.0)

    async def _clear(self) -> None:
        self._close_stream()
        self._translator.clear()
        self._uncommitted_s = 0.0
        await self.emit({"type": "input_audio_buffer.cleared"})

    async def _finish(self, settings: SessionSettings) -> None:
        """End the present live session; its last events are emitted."""
        if (stream := self._stream) is not None:
            await self._emit_all(settings, await self._in_thread(stream.finish))
            self._close_stream()

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._translator.next_stream(self._utterances, self._stream.fed_s)
            self._stream = None
            self._utterances = 0

    async def _emit_all(self, settings: SessionSettings, events: Iterator[Event]) -> None:
        # One after the other: what came before a failure of the model is not lost with it.
        while (event := await self._in_thread(lambda: next(events, None))) is not None:
            if settings.audio.input.turn_detection is None:
                self._translator.manual(event)
                continue
            self._utterances = max(self._utterances, event.utterance)
            for server_event in self._translator.live(event):
                await self.emit(server_event)

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)

    async def _fail(self, error: Exception) -> None:
        await self.emit(error_event(as_request_error(error)))

    def describe(self, settings: SessionSettings | None = None) -> dict[str, Any]:
        """Return the session as OpenAI's clients know it."""
        described = (settings or self.settings).model_dump(mode="json")
        if described["audio"]["input"]["format"]["type"] == "audio/pcm":
            described["audio"]["input"]["format"]["rate"] = (
                settings or self.settings
            ).audio.input.format.sample_rate
        else:
            described["audio"]["input"]["format"].pop("rate")
        return {
            "id": self.session_id,
            "object": "realtime.transcription_session",
            **described,
        }


def error_event(error: RequestError) -> ServerEvent:
    """Return the event of an error, without its number."""
    body = error.body()["error"]
    return {"type": "error", "error": {**body, "event_id": None}}


_JOURNAL_FULL: ServerEvent = {
    "type": "session.journal_full",
    "resume": {"after_restart": False},
    "message": "the audio of this session exceeds max_journal_mb, or its disk is full, and is not "
    "kept on the disk any more: the session goes on and can be resumed as long as the server runs, "
    "but not after its end. Keep the audio whose text has not come, or open a new session.",
}


def _broken_off(transcribed_s: float | None) -> RequestError:
    where = "" if transcribed_s is None else f" from {transcribed_s:.3f} s of this session on"
    return RequestError(
        409,
        "the server's process has ended, and the journal of this session was full, so that it "
        f"cannot be continued; open a new session and send the audio{where} again",
        code="session_not_resumable",
    )


def _transcribed_s(events: Iterable[ServerEvent]) -> float:
    """Return up to where the audio has final texts, in seconds of the session."""
    segments = [segment for event in events for segment in event.get("segments", ())]
    return max((s.get("chunk_end") or s["end"] for s in segments), default=0.0)


def _number(event: ServerEvent) -> int:
    return int(event["event_id"].removeprefix("event_"))
