"""`/v1/realtime`: live transcription over a WebSocket."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Query, WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState

from megaasr import strict_json
from megaasr.serve.error_responses import RequestError, as_request_error
from megaasr.serve.realtime_session import RealtimeSession
from megaasr.serve.realtime_sessions import Attachment
from megaasr.serve.services import client_of, services_of
from megaasr.serve.session_notices import error_event

router = APIRouter(prefix="/v1", tags=["realtime"])

SUBPROTOCOL = "realtime"
_NORMAL = 1000
"""Code with which clients close a connection on purpose."""
_RESTARTING, _REPLACED, _BROKEN_OFF = 1012, 4000, 4001
"""Codes with which the server closes one."""


@router.websocket("/realtime")
async def realtime(
    websocket: WebSocket,
    intent: str = "transcription",
    model: str | None = None,
    session: Annotated[str | None, Query(description="Token of a session to resume.")] = None,
    after: Annotated[int, Query(ge=0, description="Number of the last event received.")] = 0,
) -> None:
    """Transcribe audio while it comes."""
    services = services_of(websocket)
    if intent != "transcription":
        raise RequestError(
            400, "only intent=transcription is possible", param="intent", code="invalid_value"
        )
    services.model.require_name(model)
    sessions = services.realtime
    if session is None:
        attachment, after = sessions.open(client_of(websocket)), 0
    else:
        attachment = await sessions.resume(session, client_of(websocket), after)
    live = attachment.session
    ended = False
    try:
        await _accept(websocket)
        # Not one of the numbered events: a journal must not hold the token.
        await _send(
            websocket,
            {
                "event_id": "event_0",
                "type": "session.created" if session is None else "session.updated",
                "session": live.describe(),
                "resume": {
                    "token": attachment.token,
                    "frames": live.frames,
                    "after_restart": live.survives_restart,
                },
            },
        )
        ended = await _exchange(websocket, attachment, after)
    finally:
        await sessions.leave(attachment, ended=ended)


async def _accept(websocket: WebSocket) -> None:
    offered = websocket.headers.get("sec-websocket-protocol", "")
    names = [name.strip() for name in offered.split(",")]
    await websocket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in names else None)


async def _exchange(websocket: WebSocket, attachment: Attachment, after: int) -> bool:
    """Receive and send until the connection or the session ends, or is replaced.

    Returns:
        Whether the client closed the connection on purpose.
    """
    tasks = [
        asyncio.create_task(_send_events(websocket, attachment.session, after)),
        asyncio.create_task(_receive_events(websocket, attachment.session)),
        asyncio.create_task(_wait(attachment.replaced)),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        if websocket.client_state is WebSocketState.CONNECTED:
            with suppress(WebSocketDisconnect, RuntimeError, OSError):
                await websocket.close(_reason_of_end(attachment))
    return any(result == _NORMAL for result in results)


def _reason_of_end(attachment: Attachment) -> int:
    """Return the code with which a connection is closed that the client has not closed."""
    if attachment.replaced.is_set():
        return _REPLACED
    return _BROKEN_OFF if attachment.session.is_broken_off else _RESTARTING


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def _send_events(websocket: WebSocket, session: RealtimeSession, after: int) -> None:
    with suppress(WebSocketDisconnect, RuntimeError, OSError):  # the client is gone
        try:
            async for event in session.events(after):
                await _send(websocket, event)
        except RequestError as error:
            await _send(websocket, {"event_id": "event_0", **error_event(error)})


async def _receive_events(websocket: WebSocket, session: RealtimeSession) -> int:
    """Receive events until the connection is closed, and return the code of its end."""
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return int(message.get("code") or 1006)
        text = message.get("text")
        try:
            if text is None:
                raise RequestError(400, "events are sent as text, in JSON", code="invalid_event")
            await session.receive(text)
        except Exception as error:
            await session.emit(error_event(as_request_error(error)))


async def _send(websocket: WebSocket, event: dict[str, object]) -> None:
    await websocket.send_text(strict_json.dumps(event, ensure_ascii=False))
