"""Many live sessions on one model.

Each session runs in a thread of its own, and what they ask of the model is decoded in common
batches (`megaasr.model.shared_model`), partial texts and final segments, base and robust branch
together. A session that is fed or read slowly delays no other one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from megaasr.audio.waveform import Samples
from megaasr.errors import ModelBusyError, UsageError
from megaasr.model.shared_model import ModelUse, SharedModel, SharedModelClient
from megaasr.stream.events import Event, Partial
from megaasr.stream.options import StreamOptions
from megaasr.stream.session import StreamSession
from megaasr.transcribe.recognizer import MegaASR

MAX_LAG_S = 2.0
"""Partial texts are left out while so many seconds of audio wait."""
MAX_WAITING_S = 30.0
"""Seconds of audio that wait in a session before `feed` waits."""
MAX_EVENTS = 256
"""Events that wait to be read before a session waits."""


class LiveStream:
    """A session of a scheduler: fed in one thread, read in another or the same.

    Memory is bounded: `feed` waits while `MAX_WAITING_S` of audio wait, and the session while
    `MAX_EVENTS` events do. Of partial texts that wait only the last is kept.

    Args:
        session: the session; nothing else may use it.
        client: its use of the shared model.
        on_event: called with every event before it can be read, in the session's thread; for a
            journal, for example.
    """

    def __init__(
        self,
        session: StreamSession,
        client: SharedModelClient,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self._session, self._client, self._on_event = session, client, on_event
        self._changed = threading.Condition()
        self._blocks: deque[Samples] = deque()
        self._waiting = 0  # samples in them
        self._events: deque[Event] = deque()
        self._error: BaseException | None = None
        self._is_finished = self._is_closed = self._is_done = False
        self._thread = threading.Thread(target=self._run, name="live session", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def is_running(self) -> bool:
        """Whether more events may come."""
        return not self._is_done

    @property
    def waiting_s(self) -> float:
        """Seconds of audio that wait to be processed."""
        return self._waiting / self._session.options.sample_rate

    def feed(self, samples: NDArray[Any], sample_rate: int | None = None) -> None:
        """Add the next samples; waits while too much audio waits. Arguments as of the session.

        Raises:
            UsageError, AudioFormatError: as `StreamSession.feed`; nothing was taken.
            ModelError: the session ended with it.
        """
        block = self._session.checked(samples, sample_rate)
        with self._changed:
            if self._is_finished or self._is_closed:
                raise UsageError("the session is finished; open another one for more audio")
            while self.waiting_s >= MAX_WAITING_S and not (self._is_done or self._is_closed):
                self._changed.wait()
            if self._error is not None:
                raise self._error
            self._blocks.append(block)
            self._waiting += len(block)
            self._changed.notify_all()

    def finish(self) -> None:
        """End the stream; the last events come when all audio is processed."""
        with self._changed:
            self._is_finished = True
            self._changed.notify_all()

    def events(self) -> Iterator[Event]:
        """Yield the events as they come, until the session is finished or closed.

        Raises:
            ModelError: the session ended with it; raised after the events before.
        """
        while True:
            with self._changed:
                while not (self._events or self._is_done or self._is_closed):
                    self._changed.wait()
                if not self._events:
                    if self._error is not None:
                        raise self._error
                    return
                event = self._events.popleft()
                self._changed.notify_all()
            yield event

    def close(self) -> None:
        """Give the session up: what waits is dropped, and the model is not asked any more."""
        with self._changed:
            self._is_closed = True
            self._blocks.clear()
            self._changed.notify_all()
        self._client.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            while (block := self._next_block()) is not None:
                self._put(self._session.feed(block))
            if not self._is_closed:
                self._put(self._session.finish())
        except CancelledError:
            pass  # the session or the scheduler was closed
        except BaseException as error:  # raised where the events are read
            self._error = error
        finally:
            self._client.close()
            with self._changed:
                self._is_done = True
                self._changed.notify_all()

    def _next_block(self) -> Samples | None:
        """Return the next block; None at the end."""
        with self._changed:
            while not (self._blocks or self._is_finished or self._is_closed):
                self._changed.wait()
            if not self._blocks:
                return None
            is_behind = self.waiting_s > MAX_LAG_S
            self._session.partials = self._session.options.partials and not is_behind
            block = self._blocks.popleft()
            self._waiting -= len(block)
            self._changed.notify_all()
            return block

    def _put(self, events: Iterator[Event]) -> None:
        for event in events:
            if self._on_event is not None:
                self._on_event(event)
            with self._changed:
                if self._events and isinstance(event, Partial):
                    last = self._events[-1]
                    if isinstance(last, Partial) and last.utterance == event.utterance:
                        self._events.pop()
                while len(self._events) >= MAX_EVENTS and not self._is_closed:
                    self._changed.wait()
                if self._is_closed:
                    return
                self._events.append(event)
                self._changed.notify_all()


class StreamScheduler:
    """Opens live sessions on one model.

    Args:
        asr: the recognizer; nothing else may use its model.
        batch_size: largest number of requests that are decoded at once, at least 1.
        max_sessions: largest number of sessions at a time; further ones are refused.

    Raises:
        UsageError: a number is less than 1.
    """

    def __init__(self, asr: MegaASR, *, batch_size: int = 8, max_sessions: int = 64) -> None:
        if max_sessions < 1:
            raise UsageError(f"max_sessions is {max_sessions}; it must be at least 1")
        self._asr, self._max_sessions = asr, max_sessions
        self._shared = SharedModel(asr.model, batch_size=batch_size)
        self._streams: list[LiveStream] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def open(
        self,
        options: StreamOptions | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> LiveStream:
        """Open a session.

        Args:
            options: how it listens and decodes.
            on_event: called with every event before it can be read, in the session's thread.

        Raises:
            ModelBusyError: there are `max_sessions` already.
        """
        self._streams = [stream for stream in self._streams if stream.is_running]
        if len(self._streams) >= self._max_sessions:
            raise ModelBusyError(
                f"{len(self._streams)} live sessions are open, the largest number; try again later"
            )
        client = self._shared.client(live=True)
        session = StreamSession(self._asr.with_model(client), options)
        stream = LiveStream(session, client, on_event)
        self._streams.append(stream)
        return stream

    def use(self) -> ModelUse:
        """Return what the model has done so far."""
        return self._shared.use()

    def close(self) -> None:
        """Give up all sessions, and release the model."""
        for stream in self._streams:
            stream.close()
        self._shared.close()
