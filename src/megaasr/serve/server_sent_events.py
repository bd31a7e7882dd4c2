"""Answers with `stream=true`: segments as server-sent events, as soon as they are final."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from megaasr import strict_json
from megaasr.records import Segment, Transcript
from megaasr.records.marking import mark_segments
from megaasr.serve.connection import while_connected
from megaasr.serve.error_responses import as_request_error
from megaasr.serve.protocol import Shape, TextDelta, TextDone
from megaasr.serve.response_formats import diarized_segments, language_codes, word_logprobs
from megaasr.serve.transcription_form import OutputOptions
from megaasr.text.languages import join_texts

KEEP_ALIVE_S = 15.0
"""Seconds without an event after which a comment keeps proxies from closing the connection."""


class TextDeltas:
    """Makes events of segments, whose deltas in order are the whole text.

    Args:
        output: how the answer looks.
    """

    def __init__(self, output: OutputOptions) -> None:
        self._output = output
        self._segments: list[Segment] = []
        self._text = ""
        self._last: tuple[str, str | None] = ("", None)  # the latest text, and its language

    def delta(self, segment: Segment) -> TextDelta | None:
        """Return the event of the next segment; None if it adds no text."""
        (shown,) = mark_segments((segment,), self._output.marking)
        self._segments.append(shown)
        if not shown.text:
            return None
        addition = join_texts([self._last, (shown.text, shown.language)])[len(self._last[0]) :]
        self._last = (shown.text, shown.language)
        self._text += addition
        return TextDelta(
            delta=addition,
            logprobs=word_logprobs((shown,)) if self._output.logprobs else None,
            start=shown.start,
            end=shown.end,
            language=shown.language,
            route=shown.route,
            confidence=shown.confidence,
            flags=list(shown.flags),
        )

    def done(self, transcript: Transcript) -> TextDone:
        """Return the last event."""
        return TextDone(
            text=self._text,
            languages=language_codes(self._segments),
            logprobs=word_logprobs(self._segments) if self._output.logprobs else None,
            duration=transcript.duration_s,
            notes=list(transcript.notes),
            reason=None if self._text else transcript.reason,
        )


def channel_events(transcripts: tuple[Transcript, ...], output: OutputOptions) -> list[Shape]:
    """Return the events of a recording whose channels were transcribed separately.

    Bleed is known only when all channels are, so that nothing can be sent before.
    """
    marked = tuple(transcript.marked(output.marking) for transcript in transcripts)
    segments = diarized_segments(marked)
    text = join_texts((segment.text, None) for segment in segments)
    done = TextDone(
        text=text,
        languages=language_codes(s for t in marked for s in t.segments),
        duration=max(transcript.duration_s for transcript in marked),
    )
    return [*segments, done]


def encode_event(body: Mapping[str, object]) -> bytes:
    """Return an event as it is sent."""
    return f"data: {strict_json.dumps(body, ensure_ascii=False)}\n\n".encode()


class EventStreamResponse(Response):
    """Sends events, and holds what they are made from until the last is sent or the client gone.

    Args:
        events: the events; a failure is sent as an event, since the status has been sent before.
        resources: closed at the end, however it comes.
        names: paths on this machine, each with what the sender calls the file.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[Shape],
        resources: AsyncExitStack,
        *,
        headers: Mapping[str, str],
        names: Mapping[str, str],
    ) -> None:
        super().__init__(
            headers={"cache-control": "no-cache", "x-accel-buffering": "no", **headers}
        )
        del self.headers["content-length"]
        self._events = events
        self._resources = resources
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        async with self._resources:
            try:
                await send(start)
                async with while_connected(receive):
                    async for data in self._encoded():
                        await send({"type": "http.response.body", "body": data, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            except OSError as error:
                raise ClientDisconnect from error

    async def _encoded(self) -> AsyncIterator[bytes]:
        try:
            async for event in _with_keep_alives(self._events):
                yield b": keep-alive\n\n" if event is None else encode_event(event.to_json())
        except Exception as error:
            yield encode_event(as_request_error(error, names=self._names).body())
        yield b"data: [DONE]\n\n"


async def _with_keep_alives(events: AsyncIterator[Shape]) -> AsyncIterator[Shape | None]:
    """Yield events, and None whenever none has come for a while."""
    following = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            done, _ = await asyncio.wait((following,), timeout=KEEP_ALIVE_S)
            if not done:
                yield None
                continue
            event = following.result()
            if event is None:
                return
            yield event
            following = asyncio.ensure_future(anext(events, None))
    finally:
        following.cancel()
