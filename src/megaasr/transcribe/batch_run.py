"""Any number of recordings whose chunks share batches: what is in flight, and in which order."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from megaasr.errors import AudioError
from megaasr.records import Segment
from megaasr.transcribe.assemble import skipped_segment
from megaasr.transcribe.audio_stream import AudioStream
from megaasr.transcribe.chunk_decoder import ChunkDecoder
from megaasr.transcribe.chunk_source import FlaggedChunk, read_chunks
from megaasr.transcribe.chunking import SpeechDetector, skip_flags
from megaasr.transcribe.options import DecodeOptions
from megaasr.transcribe.session import Outcome, Session

RunEvent: TypeAlias = tuple[str, Segment] | Outcome
"""The name of a recording and its next segment, or the outcome of a recording."""

_LOGGER = logging.getLogger(__name__)
_LOOK_AHEAD_BATCHES = 4
"""Number of batches of chunks that are collected and sorted by length: less padding, bounded
memory."""


@dataclass(frozen=True, slots=True)
class _PendingChunk:
    """A chunk that has to be decoded.

    Attributes:
        session: session of the recording.
        index: index of its segment in the session.
        flagged: the audio, and what is known of it before it is decoded.
    """

    session: Session
    index: int
    flagged: FlaggedChunk


class BatchRun:
    """Transcribes recordings in shared batches; used once.

    Args:
        decoder: turns chunks into segments.
        options: what the model is told about the speech.
        model: name of the model, which the transcripts state.
        detector: voice-activity detection; None without it.
        max_chunk_s: returns the length of the longest chunk in seconds, 2 to 30.
        batch_size: largest number of chunks that are decoded at once, at least 1.
    """

    def __init__(
        self,
        decoder: ChunkDecoder,
        options: DecodeOptions,
        *,
        model: str,
        detector: SpeechDetector | None,
        max_chunk_s: Callable[[], float],
        batch_size: int,
    ) -> None:
        self._decoder = decoder
        self._options = options
        self._model = model
        self._detector = detector
        self._max_chunk_s = max_chunk_s
        self._batch_size = batch_size
        self._sessions: deque[Session] = deque()  # not complete yet, in the order of the inputs
        self._pending: list[_PendingChunk] = []

    def events(self, streams: Iterable[AudioStream]) -> Iterator[RunEvent]:
        """Yield segments and outcomes, in the order of the inputs.

        Raises:
            ModelError: the model fails.
            UsageError: an argument cannot be used.
        """
        limit = self._batch_size  # a single batch at first, so that the first words come soon
        for stream in streams:
            session = Session(stream.name, stream.path, stream.notes)
            self._sessions.append(session)
            for chunk in self._read(stream, session):
                self._pending.append(chunk)
                if len(self._pending) >= limit:
                    yield from self._decode()
                    limit = self._batch_size * _LOOK_AHEAD_BATCHES
            if len(self._sessions) > limit:  # recordings without chunks wait behind one in flight
                yield from self._decode()
            yield from self._emit_ready()
        yield from self._decode()

    def _read(self, stream: AudioStream, session: Session) -> Iterator[_PendingChunk]:
        """Read an input into its session, and yield the chunks that have to be decoded."""
        try:
            for flagged in read_chunks(stream, self._detector, self._max_chunk_s()):
                index = session.reserve(flagged.chunk)
                skipped = skip_flags(flagged.chunk)
                if skipped:
                    flags = skipped + flagged.flags
                    session.add_result(index, skipped_segment(flagged.chunk, flags))
                else:
                    yield _PendingChunk(session, index, flagged)
            session.close()
        except AudioError as error:
            session.fail(error)

    def _decode(self) -> Iterator[RunEvent]:
        """Route and decode the pending chunks in batches; yield what is complete after each."""
        chunks = [chunk for chunk in self._pending if chunk.session.error is None]
        self._pending.clear()
        for batch in _batches(chunks, self._batch_size):
            results = self._decoder.decode_batch([item.flagged for item in batch], self._options)
            for item, (segment, decoding) in zip(batch, results, strict=True):
                item.session.add_result(item.index, segment, item.flagged)
                _LOGGER.debug(
                    "%s, %.2f to %.2f s: %s branch, %d attempts, %s",
                    item.session.name,
                    segment.start,
                    segment.end,
                    segment.route,
                    len(decoding.attempts),
                    ", ".join(segment.flags) or "no flags",
                )
            yield from self._emit_ready()

    def _emit_ready(self) -> Iterator[RunEvent]:
        """Yield what is ready of the first session; once it is complete, go on to the next.

        A segment whose language is implausible is decoded again.
        """
        while self._sessions:
            session = self._sessions[0]
            while (ready := session.next_ready()) is not None:
                segment = self._decoder.resolve_language(
                    ready.segment, ready.chunk, session.languages, self._options
                )
                yield session.name, session.emit(segment)
            if not session.done:
                return
            self._sessions.popleft()
            yield session.outcome(self._model)


def _batches(chunks: Sequence[_PendingChunk], size: int) -> list[list[_PendingChunk]]:
    """Group chunks of similar length; the groups with the earliest chunks come first."""
    order = sorted(range(len(chunks)), key=lambda i: len(chunks[i].flagged.chunk.samples))
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    groups.sort(key=min)
    return [[chunks[i] for i in group] for group in groups]
