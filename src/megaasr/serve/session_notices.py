"""What a realtime session tells its client about its own end and its journal."""

from __future__ import annotations

from collections.abc import Iterable

from megaasr.errors import MegaASRError
from megaasr.serve.error_responses import RequestError
from megaasr.serve.realtime_events import ServerEvent

JOURNAL_FULL: ServerEvent = {
    "type": "session.journal_full",
    "resume": {"after_restart": False},
    "message": "the audio of this session exceeds max_journal_mb, or its disk is full, and is not "
    "kept on the disk any more: the session goes on and can be resumed as long as the server runs, "
    "but not after its end. Keep the audio whose text has not come, or open a new session.",
}


MODEL_CHANGED = "the server has another model, or other settings of it, than before"
FULL_JOURNAL = "the journal of this session was full"
"""Reasons for which a session cannot be continued."""


class ModelChangedError(MegaASRError):
    """The model is not the one that began the session: its texts may contradict what was sent."""


def error_event(error: RequestError) -> ServerEvent:
    """Return the event of an error, without its number."""
    body = error.body()["error"]
    return {"type": "error", "error": {**body, "event_id": None}}


def broken_off(reason: str, events: Iterable[ServerEvent] | None = None) -> RequestError:
    """Return the error of a session that cannot be continued after a restart.

    Args:
        reason: why not.
        events: what was sent to the client, if it is to be told from where on audio is missing.
    """
    where = ""
    if events is not None:
        where = f" from {_transcribed_s(events):.3f} s of this session on"
    return RequestError(
        409,
        f"the server's process has ended, and {reason}, so that the session cannot be continued; "
        f"open a new session and send the audio{where} again",
        code="session_not_resumable",
    )


def _transcribed_s(events: Iterable[ServerEvent]) -> float:
    """Return up to where the audio has final texts, in seconds of the session."""
    ends = (event["audio_end_ms"] for event in events if "segments" in event)
    return max(ends, default=0) / 1000
