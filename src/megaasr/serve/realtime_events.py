"""From the events of a live session to OpenAI's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

from megaasr import strict_json
from megaasr.records import Segment
from megaasr.serve.response_formats import language_codes, word_logprobs
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

    Attributes:
        has_logprobs: whether texts come with the logarithm of each word's confidence.
    """

    def __init__(self, item_prefix: str) -> None:
        self.has_logprobs = False
        self._prefix = item_prefix
        self._made: set[tuple[str, str]] = set()  # type and item
        self._texts: dict[str, str] = {}  # sent so far, of items that are not complete
        self._repeated_partials: Counter[str] = Counter()  # sent before the process was killed
        self._predecessors: dict[str, str | None] = {}  # of committed items
        self._last_committed: str | None = None
        self._items = 0  # of the live sessions before this one
        self._base_s = 0.0
        self._turn: list[Segment] = []  # segments that the client has not committed

    @property
    def has_turn(self) -> bool:
        """Whether there are segments that wait for a commit of the client."""
        return bool(self._turn)

    def restore(self, event: ServerEvent) -> None:
        """Take note of an event that was sent before the process was killed."""
        item = event.get("item_id") or event.get("item", {}).get("id")
        if item is None:
            return
        self._made.add((event["type"], item))
        if event["type"] == _COMMITTED:
            self._predecessors[item] = event["previous_item_id"]
            self._last_committed = item
        elif event["type"] == _DELTA:
            self._texts[item] = self._texts.get(item, "") + event["delta"]
            self._repeated_partials[item] += "volatile" in event

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
            self._turn.append(self._shifted(event.segment))

    def clear(self) -> None:
        """Forget what was not committed."""
        self._turn.clear()

    def commit(self, seconds: float) -> Iterator[ServerEvent]:
        """Yield the events of a commit; there is no present live session.

        Args:
            seconds: length of the audio that is committed.
        """
        item = f"{self._prefix}{self._items + 1}"
        segments, self._turn = self._turn, []
        self._items += 1
        yield from self._new(item, self._turn_events(item, segments, seconds))

    def _new(self, item: str, events: Iterator[ServerEvent]) -> Iterator[ServerEvent]:
        if (_COMPLETED, item) in self._made:
            return
        for event in events:
            key = (event["type"], item)
            if event["type"] != _DELTA and key in self._made:
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
            if not self._is_shown(item, event):
                yield self._delta(item, event.stable, volatile=event.volatile)
        elif isinstance(event, Final):
            segment = self._shifted(event.segment)
            yield from self._committed(item)  # made before, unless the utterance was too long
            end_s = segment.end if segment.chunk_end is None else segment.chunk_end
            yield from self._completed(item, [segment], segment.end - segment.start, end_s)
        else:
            assert isinstance(event, Reset)

    def _turn_events(
        self, item: str, segments: list[Segment], seconds: float
    ) -> Iterator[ServerEvent]:
        yield from self._committed(item)
        yield from self._completed(item, segments, seconds, self._base_s)

    def _is_shown(self, item: str, partial: Partial) -> bool:
        """Return whether a client has this partial text, or a later one.

        Only the stable part of what was sent is known to be continued by an older partial text;
        with its volatile part, words would be shown twice or vanish.
        """
        if self._repeated_partials[item]:
            self._repeated_partials[item] -= 1
            return True
        return len(partial.stable) < len(self._texts.get(item, ""))

    def _committed(self, item: str) -> Iterator[ServerEvent]:
        if item not in self._predecessors:
            self._predecessors[item] = self._last_committed
            self._last_committed = item
        previous = self._predecessors[item]
        content = {"type": "input_audio", "transcript": None}
        shape = {"id": item, "type": "message", "role": "user", "status": "completed"}
        described = {**shape, "object": "realtime.item", "content": [content]}
        yield {"type": _COMMITTED, "item_id": item, "previous_item_id": previous}
        for kind in ("added", "done"):
            yield {
                "type": f"conversation.item.{kind}",
                "item": described,
                "previous_item_id": previous,
            }

    def _completed(
        self, item: str, segments: list[Segment], seconds: float, end_s: float
    ) -> Iterator[ServerEvent]:
        text = join_texts((segment.text, segment.language) for segment in segments)
        if text != self._texts.get(item, ""):
            yield self._delta(item, text)
        self._texts.pop(item, None)
        languages = [code.to_json() for code in language_codes(segments)]
        logprobs = [word.to_json() for word in word_logprobs(segments)]
        yield {
            "type": _COMPLETED,
            "item_id": item,
            "content_index": 0,
            "transcript": text,
            "languages": languages,
            **({"logprobs": logprobs} if self.has_logprobs else {}),
            "usage": {"type": "duration", "seconds": round(max(0.0, seconds), 3)},
            "segments": [strict_json.finite(asdict(segment)) for segment in segments],
            "audio_end_ms": round(1000 * end_s),
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

    def _shifted(self, segment: Segment) -> Segment:
        """Return a segment with times of the realtime session."""

        def shifted(record: Any, *names: str) -> Any:
            times = {name: getattr(record, name) for name in names}
            return replace(
                record,
                **{n: None if t is None else round(t + self._base_s, 3) for n, t in times.items()},
            )

        result: Segment = shifted(segment, "start", "end", "chunk_start", "chunk_end")
        return replace(
            result,
            words=tuple(shifted(word, "start", "end") for word in segment.words),
            unintelligible=tuple(shifted(span, "start", "end") for span in segment.unintelligible),
        )

    def _ms(self, seconds: float) -> int:
        return round(1000 * (self._base_s + seconds))


_COMMITTED = "input_audio_buffer.committed"
_DELTA = "conversation.item.input_audio_transcription.delta"
_COMPLETED = "conversation.item.input_audio_transcription.completed"

OnServerEvent = Callable[[ServerEvent], None]
"""Called with every event for the client."""
