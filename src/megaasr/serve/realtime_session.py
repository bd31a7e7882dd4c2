"""One realtime session: audio and commands in, numbered events out. It outlives its connection."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import CancelledError, Executor
from dataclasses import dataclass
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
    unused_fields,
    updated,
)
from megaasr.serve.session_journal import JournaledSession, SessionJournal
from megaasr.serve.session_notices import (
    FULL_JOURNAL,
    JOURNAL_FULL,
    MODEL_CHANGED,
    ModelChangedError,
    broken_off,
    error_event,
)
from megaasr.stream.events import Event, Final
from megaasr.stream.session import StreamSession

OpenStream = Callable[[SessionSettings], StreamSession]
"""Opens a live session with the settings of a realtime session."""

_MAX_WAITING = 256
"""Events of the client that wait to be processed before no more are read."""
_MAX_KEPT = 10_000
"""Events for the client that are kept, so that it can ask for them again."""
_MODEL_RETRY_S = 1.0
"""Seconds after which a session asks again for a model that could not be loaded."""
_NOTHING_TO_COMMIT = "input_audio_buffer_commit_empty"


@dataclass(slots=True)
class _Opened:
    """A live session with what it was opened for.

    Attributes:
        stream: the live session.
        settings: settings of the realtime session; what it still has to say is told by them, even
            if they have changed.
        utterances: number of its utterances so far.
    """

    stream: StreamSession
    settings: SessionSettings
    utterances: int = 0


class RealtimeSession:
    """Transcribes what a client sends, in the order in which it was sent.

    Args:
        session_id: its identifier.
        open_stream: opens a live session; raises a `ModelChangedError` if the session cannot be
            continued with the model.
        executor: threads in which the model is waited for.
        journal: keeps what is received and sent; None without a journal.
        check: raises a `RequestError` if the server cannot do what settings ask for.
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
        check: Callable[[SessionSettings], None] = lambda settings: None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.session_id = session_id
        self.settings = SessionSettings()
        self.frames = 0
        self._open_stream = open_stream
        self._executor = executor
        self._journal = journal
        self._check_settings = check
        self._on_end = on_end
        self._translator = EventTranslator(f"item_{session_id[-12:]}_")
        self._present: _Opened | None = None
        self._ended_streams: deque[_Opened] = deque()  # whose last events are not emitted
        self._finals = 0  # of all live sessions
        self._uncommitted_s = 0.0
        self._waiting: asyncio.Queue[ClientEvent] = asyncio.Queue()
        self._taken = asyncio.Event()  # set when one of them was
        self._events: deque[ServerEvent] = deque(maxlen=_MAX_KEPT)
        self._number = 0
        self._repeated: Counter[str] = Counter()  # answers sent before the process was killed
        self._changed = asyncio.Condition()
        self._ended = False
        self._is_told_full = False  # that its journal is
        self._break_reason: str | None = None  # why it cannot be continued after a restart
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
        return self._break_reason is not None

    async def receive(self, text: str) -> None:
        """Accept an event of the client; waits while too many are not processed.

        Raises:
            RequestError: the event is not valid, or the session cannot be continued; nothing of it
                was accepted.
        """
        if self._break_reason is not None:
            raise broken_off(self._break_reason)
        event = parse_client_event(text)
        if self._is_repeated(event):
            return
        self._check(event)
        if self._journal is not None:
            self._journal.add_received(text)
            if not (self._journal.is_complete or self._is_told_full):
                self._is_told_full = True
                await self.emit(JOURNAL_FULL)
        await self._accept(event)

    async def replay(self, journaled: JournaledSession) -> None:
        """Receive again what a journal holds; events that were sent are not made again.

        Of a journal that is not complete the events can be had, and a last one that tells from
        where on the audio has to be sent again, in another session.
        """
        self._repeated.update(filter(None, map(_answer, journaled.sent)))
        for sent in journaled.sent:
            self._translator.restore(sent)
            self._events.append(sent)
            self._number = _number(sent)
        if not journaled.is_complete:
            await self._break_off(FULL_JOURNAL)
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
        answer = _answer(event)
        if answer is not None and self._repeated[answer]:
            self._repeated[answer] -= 1
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
                if self._ended or self.is_broken_off:
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
            settings = updated(self.settings, event.session)
            unused_fields(event.session)  # refuses misspelt ones
            self._check_settings(settings)
            self.settings = settings

    async def _accept(self, event: ClientEvent) -> None:
        self.frames += isinstance(event, BufferAppend)
        self._waiting.put_nowait(event)
        while self._waiting.qsize() > _MAX_WAITING and not (self._ended or self.is_broken_off):
            self._taken.clear()
            await self._taken.wait()

    async def _work(self) -> None:
        settings = SessionSettings()
        while True:
            event = await self._waiting.get()
            self._taken.set()
            try:
                if isinstance(event, SessionUpdate):
                    former, settings = settings, updated(settings, event.session)
                    await self._update(former, settings, unused_fields(event.session))
                elif isinstance(event, BufferAppend):
                    await self._feed(settings, settings.audio.input.format.decode(event.audio))
                elif isinstance(event, BufferCommit):
                    await self._commit(settings)
                else:
                    await self._clear()
            except CancelledError:
                return  # the server stops
            except ModelChangedError:
                await self._break_off(MODEL_CHANGED)
                return
            except Exception as error:
                await self._fail(error)

    async def _update(
        self, former: SessionSettings, settings: SessionSettings, unused: list[str]
    ) -> None:
        try:
            if not settings.decodes_as(former):
                await self._change(former, settings)
            elif self._present is not None:
                self._present.settings = settings
                self._present.stream.partials = settings.has_partials
        except CancelledError:
            raise
        except Exception as error:  # the audio before is tried again; the settings are changed
            await self._fail(error)
        event = {"type": "session.updated", "session": self.describe(settings)}
        await self.emit({**event, "ignored": unused} if unused else event)

    async def _change(self, former: SessionSettings, settings: SessionSettings) -> None:
        """Transcribe the audio so far with the former settings."""
        if former.is_manual and not settings.is_manual and self._uncommitted_s:
            await self._commit(former)  # nobody else would
            return
        self._end_stream()
        if settings.is_manual and not former.is_manual:
            self._uncommitted_s = 0.0
        await self._emit_ended()

    async def _feed(self, settings: SessionSettings, samples: NDArray[np.int16]) -> None:
        if self._present is None:
            self._present = _Opened(await self._opened(settings), settings)
        opened = self._present
        events = await self._in_thread(lambda: opened.stream.feed(samples))
        self._uncommitted_s += len(samples) / opened.stream.options.sample_rate
        await self._emit_ended()
        await self._emit_all(opened, events)

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
        if not self._uncommitted_s:
            raise RequestError(400, "there is no audio to commit", code=_NOTHING_TO_COMMIT)
        finals = self._finals
        self._end_stream()
        await self._emit_ended()
        # The server's own turns are committed by now. Without any, the client still waits for one.
        if settings.is_manual or self._translator.has_turn or self._finals == finals:
            seconds = self._uncommitted_s if settings.is_manual else 0.0
            self._translator.has_logprobs = settings.has_logprobs
            for event in self._translator.commit(seconds):
                await self.emit(event)
        self._uncommitted_s = 0.0  # not before: when the model fails, the client may commit again

    async def _clear(self) -> None:
        self._end_stream()
        while self._ended_streams:
            self._drop_ended()
        self._translator.clear()
        self._uncommitted_s = 0.0
        await self.emit({"type": "input_audio_buffer.cleared"})

    def _end_stream(self) -> None:
        """End the present live session; its last events are not emitted yet."""
        if self._present is not None:
            self._ended_streams.append(self._present)
            self._present = None

    async def _emit_ended(self) -> None:
        """Emit the last events of live sessions that have ended; what failed is tried again."""
        while self._ended_streams:
            opened = self._ended_streams[0]
            await self._emit_all(opened, await self._in_thread(opened.stream.finish))
            self._drop_ended()

    def _drop_ended(self) -> None:
        opened = self._ended_streams.popleft()
        self._translator.next_stream(opened.utterances, opened.stream.fed_s)

    async def _emit_all(self, opened: _Opened, events: Iterator[Event]) -> None:
        # One after the other: what came before a failure of the model is not lost with it.
        while (event := await self._in_thread(lambda: next(events, None))) is not None:
            self._finals += isinstance(event, Final)
            if opened.settings.is_manual:
                self._translator.manual(event)
                continue
            opened.utterances = max(opened.utterances, event.utterance)
            self._translator.has_logprobs = opened.settings.has_logprobs
            for server_event in self._translator.live(event):
                await self.emit(server_event)

    async def _break_off(self, reason: str) -> None:
        """End a session of the last process, and tell from where on the audio has to be sent again.

        Args:
            reason: why it cannot be continued.
        """
        self._break_reason = reason
        self._taken.set()
        if self._journal is not None:
            self._journal.drop_received()
        error = error_event(broken_off(reason, self._events))
        is_told = self._events and self._events[-1].get("error", {}).get("code")
        if is_told != error["error"]["code"]:
            await self.emit(error)

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


def _answer(event: ServerEvent) -> str | None:
    """Return the kind of an event that answers an event of the client in the same way every time.

    It is made again when a journal is replayed; the translator knows about events with an item.
    Other errors are of events that were not accepted, or the model may not fail a second time.
    """
    if event["type"] in ("session.updated", "input_audio_buffer.cleared"):
        return str(event["type"])
    code = event.get("error", {}).get("code")
    return code if code == _NOTHING_TO_COMMIT else None


def _number(event: ServerEvent) -> int:
    return int(event["event_id"].removeprefix("event_"))
