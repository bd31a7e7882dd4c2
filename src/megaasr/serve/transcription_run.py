"""One recording that is transcribed in a thread, and its segments as they become final."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError, Executor
from contextvars import copy_context
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from megaasr.model.hub import language_note
from megaasr.model.interface import SpeechModel
from megaasr.model.shared_model import SharedModelClient
from megaasr.records import Segment, Transcript
from megaasr.serve.limits import AudioLimits, GuardedDetector
from megaasr.serve.served_model import ServedModel
from megaasr.serve.transcription_form import TranscriptionRequest


class TranscriptionRun:
    """Transcribes a recording; leaving its context cancels what is not done.

    Args:
        served: the model.
        path: the recording.
        request: what is asked for.
        owner: who sent it.
        limits: limits of the recording.
        executor: threads for the work.
        wrap: returns what the recognizer uses as its model, given the client's use of it.
    """

    def __init__(
        self,
        served: ServedModel,
        path: Path,
        request: TranscriptionRequest,
        *,
        owner: str,
        limits: AudioLimits,
        executor: Executor,
        wrap: Callable[[SpeechModel], SpeechModel] = lambda model: model,
    ) -> None:
        self._served = served
        self._path = path
        self._request = request
        self._owner = owner
        self._limits = limits
        self._executor = executor
        self._wrap = wrap
        self._cancelled = threading.Event()
        self._client: SharedModelClient | None = None
        self._loop = asyncio.get_running_loop()
        self._segments: asyncio.Queue[Segment | None] = asyncio.Queue()
        self._outcome: asyncio.Future[tuple[Transcript, ...]] = self._loop.create_future()

    async def __aenter__(self) -> Self:
        work = self._loop.run_in_executor(self._executor, copy_context().run, self._transcribe)
        work.add_done_callback(self._end)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel(CancelledError("the request was cancelled"))

    def cancel(self, error: BaseException) -> None:
        """End the work at its next step; whoever waits for it gets the error at once."""
        self._cancelled.set()
        if self._client is not None:
            self._client.close()
        self._finish(error)

    async def segments(self) -> AsyncIterator[Segment]:
        """Yield segments as they become final; none if each channel is transcribed for itself.

        The iteration ends when the work does, whether it succeeded or not.
        """
        while (segment := await self._segments.get()) is not None:
            yield segment

    async def transcripts(self) -> tuple[Transcript, ...]:
        """Return the transcript, or one for each channel.

        Raises:
            AudioError, ModelError, UsageError, RequestError: it cannot be transcribed.
            CancelledError: it was cancelled.
        """
        return await asyncio.shield(self._outcome)

    def _end(self, work: asyncio.Future[tuple[Transcript, ...]]) -> None:
        if work.cancelled():  # by the shutdown of the executor
            self._finish(CancelledError("the server is shutting down"))
        else:
            self._finish(work.exception() or work.result())

    def _finish(self, outcome: tuple[Transcript, ...] | BaseException) -> None:
        if self._outcome.done():
            return
        if isinstance(outcome, BaseException):
            self._outcome.set_exception(outcome)
            self._outcome.exception()  # retrieved, even if nobody waits for it any more
        else:
            self._outcome.set_result(outcome)
        self._segments.put_nowait(None)

    def _transcribe(self) -> tuple[Transcript, ...]:
        """Do the work, in a thread."""
        client = self._client = self._served.client(self._owner)
        try:
            return self._decode(self._wrap(client))
        finally:
            client.close()

    def _decode(self, model: SpeechModel) -> tuple[Transcript, ...]:
        request = self._request
        stated = self._limits.check(self._path, request.selection.track)
        channels = stated.channels if request.each_channel else 1
        detector = GuardedDetector(self._limits, channels, self._cancelled)
        asr = self._served.recognizer(model, request, detector)
        if request.each_channel:
            transcripts = asr.transcribe_channels(
                self._path,
                track=request.selection.track,
                language=request.language,
                context=request.context,
            )
        else:
            transcripts = (
                asr.transcribe(
                    self._path,
                    language=request.language,
                    context=request.context,
                    selection=request.selection,
                    on_segment=self._on_segment,
                ),
            )
        note = language_note(self._served.options.name, request.language)
        notes = () if note is None else (note,)
        return tuple(replace(t, audio=None, notes=(*t.notes, *notes)) for t in transcripts)

    def _on_segment(self, name: str, segment: Segment) -> None:
        self._loop.call_soon_threadsafe(self._segments.put_nowait, segment)
