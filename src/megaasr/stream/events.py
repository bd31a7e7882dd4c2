"""What a live session reports: numbered events, each with its JSON form (docs/streaming.md)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, TypeAlias

from megaasr import strict_json
from megaasr.records import Segment

EVENT_SCHEMA = 1
"""Version of the JSON form of events."""


@dataclass(frozen=True, slots=True)
class _Event:
    """An event of a session.

    Attributes:
        number: 1 for the first event of a session, one more for each that follows.
        at_s: position of the frame that decided it, in seconds from the beginning of the stream;
            the detector may need more audio before it knows that frame's probability.
        utterance: number of the utterance that it belongs to, from 1 on.
    """

    type: ClassVar[str]
    number: int
    at_s: float
    utterance: int

    def to_dict(self) -> dict[str, Any]:
        """Return the event as JSON values."""
        values: dict[str, Any] = strict_json.finite(asdict(self))
        return {"type": self.type, **values}


@dataclass(frozen=True, slots=True)
class SpeechStarted(_Event):
    """Somebody began to speak.

    Attributes:
        start_s: beginning of the utterance, in seconds from the beginning of the stream.
    """

    type: ClassVar[str] = "speech_started"
    start_s: float


@dataclass(frozen=True, slots=True)
class SpeechStopped(_Event):
    """Nobody speaks any more; the final segment of the utterance follows.

    Attributes:
        stop_s: end of the last frame with speech, in seconds from the beginning of the stream.
    """

    type: ClassVar[str] = "speech_stopped"
    stop_s: float


@dataclass(frozen=True, slots=True)
class Partial(_Event):
    """The text of an utterance so far, which is `stable` and `volatile` joined.

    Attributes:
        stable: text that the following partials and the final segment of the utterance begin with.
        volatile: text that may change.
        language: ISO code of the language; None if it is unknown.
        route: branch that decoded it, `base` or `robust`.
    """

    type: ClassVar[str] = "partial"
    stable: str
    volatile: str
    language: str | None
    route: str


@dataclass(frozen=True, slots=True)
class Final(_Event):
    """The text of an utterance, which does not change any more.

    Attributes:
        segment: the record of `transcribe`.
        continued: whether its text was decoded with the stable text as its beginning, because the
            text of the whole utterance did not begin with it.
    """

    type: ClassVar[str] = "final"
    segment: Segment
    continued: bool = False


@dataclass(frozen=True, slots=True)
class Reset(_Event):
    """What is kept of an utterance was dropped although speech goes on; its final segment came
    before, and the rest is a new utterance.

    Attributes:
        reason: why: `length`, the utterance was as long as the model allows.
    """

    type: ClassVar[str] = "reset"
    reason: str


Event: TypeAlias = SpeechStarted | SpeechStopped | Partial | Final | Reset
"""Any event."""
