"""From the events of a live session to OpenAI's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from megaasr import strict_json
from megaasr.records import Segment
from megaasr.stream.events import Event, Final, Partial, Reset, SpeechStarted, SpeechStopped
from megaasr.text.languages import join_texts

ServerEvent = dict[str, Any]
"""An event for the client, without its number."""


class EventTranslator:
    """Makes OpenAI's events of those of the live sessions of one realtime session.

    Deltas are append-only. An event that was made before is not made again, so that audio can be
    processed a second time after the process was killed.

    Args:
        item_prefix: beginning of the identifiers of items.
    """

    def __init__(self, item_prefix: str) -> None:
        self._prefix = item_prefix
        self._made: set[tuple[str, str]] = set()  # type and item
        self._texts: dict[str, str] = {}  # sent so far, of items that are not complete
        self._items = 0  # of the live sessions before this one
        self._base_s = 0.0
        self._previous: str | None = None
        self._manual: list[Segment] = []

    def restore(self, event: ServerEvent) -> None:
        """Take note of an event that was sent before the process was killed."""
        item = event.get("item_id") or event.get("item", {}).get("id")
        if item is None:
            return
        self._made.add((event["type"], item))
        if event["type"] == _DELTA:
            self._texts[item] = self._texts.get(item, "") + event["delta"]

    def next_stream(self, utterances: int, seconds: float) -> None:
        """Begin with another live session.

        Args:
            utterances: number of utterances of the last one.
            seconds: its length.
        """
        self._items += utterances
        self._base_s += seconds

    def live(self, event: Event) -> Iterator[ServerEvent]:
        """Yield what an event means with voice-activity detection of the server."""
        item = f"{self._prefix}{self._items + event.utterance}"
        yield from self._new(item, self._live(event, item))

    def manual(self, event: Event) -> None:
        """Keep what an event means until the client commits."""
        if isinstance(event, Final):
            self._manual.append(event.segment)

    def clear(self) -> None:
        """Forget what was not committed."""
        self._manual.clear()

    def commit(self, seconds: float) -> Iterator[ServerEvent]:
        """Yield the events of a commit.

        Args:
            seconds: length of the audio that is committed.
        """
        item = f"{self._prefix}{self._items + 1}"
        segments, self._manual = self._manual, []
        text = join_texts((segment.text, segment.language) for segment in segments)
        events = [*self._committed(item), *self._completed(item, text, segments, seconds)]
        yield from self._new(item, iter(events))

    def _new(self, item: str, events: Iterator[ServerEvent]) -> Iterator[ServerEvent]:
        for event in events:
            key = (event["type"], item)
            if event["type"] != _DELTA and key in self._made:
                continue
            if (_COMPLETED, item) in self._made:
                continue
            self._made.add(key)
            yield event

    def _live(self, event: Event, item: str) -> Iterator[ServerEvent]:
        if isinstance(event, SpeechStarted):
            yield {
                "type": "input_audio_buffer.speech_started",
                "audio_start_ms": self._ms(event.start_s),
                "item_id": item,
            }
        elif isinstance(event, SpeechStopped):
            yield {
                "type": "input_audio_buffer.speech_stopped",
                "audio_end_ms": self._ms(event.stop_s),
                "item_id": item,
            }
            yield from self._committed(item)
        elif isinstance(event, Partial):
            yield self._delta(item, event.stable, volatile=event.volatile)
        elif isinstance(event, Final):
            segment = event.segment
            yield from self._committed(item)  # made before, unless the utterance was too long
            yield from self._completed(item, segment.text, [segment], segment.end - segment.start)
        else:
            assert isinstance(event, Reset)

    def _committed(self, item: str) -> Iterator[ServerEvent]:
        if ("input_audio_buffer.committed", item) in self._made:
            return
        previous, self._previous = self._previous, item
        content = {"type": "input_audio", "transcript": None}
        shape = {"id": item, "type": "message", "role": "user", "status": "completed"}
        described = {**shape, "object": "realtime.item", "content": [content]}
        yield {
            "type": "input_audio_buffer.committed",
            "item_id": item,
            "previous_item_id": previous,
        }
        for kind in ("added", "done"):
            yield {
                "type": f"conversation.item.{kind}",
                "item": described,
                "previous_item_id": previous,
            }

    def _completed(
        self, item: str, text: str, segments: list[Segment], seconds: float
    ) -> Iterator[ServerEvent]:
        if text != self._texts.get(item, ""):
            yield self._delta(item, text)
        self._texts.pop(item, None)
        languages = dict.fromkeys(s.language for s in segments if s.text and s.language)
        yield {
            "type": _COMPLETED,
            "item_id": item,
            "content_index": 0,
            "transcript": text,
            "languages": [{"code": code} for code in languages],
            "usage": {"type": "duration", "seconds": round(max(0.0, seconds), 3)},
            "segments": [self._shown(segment) for segment in segments],
        }

    def _delta(self, item: str, text: str, volatile: str | None = None) -> ServerEvent:
        """Return the event that completes what was sent of an item to a text."""
        before = self._texts.get(item, "")
        addition = text[len(before) :] if text.startswith(before) else ""
        self._texts[item] = before + addition
        event: ServerEvent = {
            "type": _DELTA,
            "item_id": item,
            "content_index": 0,
            "delta": addition,
        }
        return event if volatile is None else {**event, "volatile": volatile}

    def _shown(self, segment: Segment) -> dict[str, Any]:
        """Return a segment with times of the realtime session."""
        shown = strict_json.finite(asdict(segment))
        for record in (shown, *shown["words"], *shown["unintelligible"]):
            for key in ("start", "end", "chunk_start", "chunk_end"):
                if record.get(key) is not None:
                    record[key] = round(record[key] + self._base_s, 3)
        result: dict[str, Any] = shown
        return result

    def _ms(self, seconds: float) -> int:
        return round(1000 * (self._base_s + seconds))


_DELTA = "conversation.item.input_audio_transcription.delta"
_COMPLETED = "conversation.item.input_audio_transcription.completed"

OnServerEvent = Callable[[ServerEvent], None]
"""Called with every event for the client."""
