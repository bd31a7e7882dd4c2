"""The ordered buffer of one recording: chunks in flight, segments ready, segments emitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from megaasr.audio.notes import AudioNote
from megaasr.errors import AudioError
from megaasr.records import Segment, Transcript
from megaasr.transcribe.assemble import assemble_transcript
from megaasr.transcribe.chunk_source import FlaggedChunk
from megaasr.transcribe.chunking import Chunk


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one recording: exactly one of `transcript` and `error` is set.

    Attributes:
        audio: the path as the caller wrote it, or `<bytes>`, `<stream>`, `<array>`.
        transcript: the transcript.
        error: the reason why there is none.
        other_channels: transcripts of the channels after the first, if each was transcribed.
    """

    audio: str
    transcript: Transcript | None = None
    error: AudioError | None = None
    other_channels: tuple[Transcript, ...] = ()

    def transcripts(self) -> tuple[Transcript, ...]:
        """Return the transcript, or one for each channel if they were transcribed separately.

        Raises:
            AudioError: the recording could not be used.
        """
        return (self.unwrap(), *self.other_channels)

    def unwrap(self) -> Transcript:
        """Return the transcript.

        Raises:
            AudioError: the recording could not be used.
        """
        if self.transcript is None:
            raise self.error or AudioError(self.audio, "was not transcribed")
        return self.transcript


@dataclass(frozen=True, slots=True)
class ReadySegment:
    """A segment that is next in order of time and has not been emitted yet.

    Attributes:
        segment: the segment.
        chunk: the chunk it was decoded from; None if it was not decoded.
    """

    segment: Segment
    chunk: FlaggedChunk | None


class Session:
    """Accepts the segments of one recording in any order, and emits them in order of time.

    Args:
        name: name of the recording in messages.
        path: path of the recording; None if it did not come from a file.
        notes: what was unusual about the recording; grows while it is read.

    Attributes:
        name: name of the recording in messages.
        error: reason why the recording cannot be used; None as long as it can.
        languages: languages of the emitted segments with text, at most the last two.
    """

    def __init__(self, name: str, path: str | None = None, notes: Sequence[AudioNote] = ()) -> None:
        self.name = name
        self.error: AudioError | None = None
        self.languages: tuple[str | None, ...] = ()
        self._path = path
        self._notes = notes
        self._ready: dict[int, ReadySegment] = {}
        self._emitted: list[Segment] = []
        self._reserved = 0
        self._duration_s = 0.0
        self._closed = False

    @property
    def done(self) -> bool:
        """Whether nothing remains to be emitted."""
        return self.error is not None or (self._closed and len(self._emitted) == self._reserved)

    def reserve(self, chunk: Chunk) -> int:
        """Return the index of the segment of the next chunk, which is in flight from now on."""
        self._duration_s = chunk.end_s
        self._reserved += 1
        return self._reserved - 1

    def add_result(self, index: int, segment: Segment, chunk: FlaggedChunk | None = None) -> None:
        """Add the segment of a chunk in flight.

        Args:
            index: index from `reserve`.
            segment: the segment.
            chunk: the chunk, if it was decoded and may have to be decoded again.
        """
        self._ready[index] = ReadySegment(segment, chunk)

    def close(self) -> None:
        """State that the recording has no further chunks."""
        self._closed = True

    def fail(self, error: AudioError) -> None:
        """State that the recording cannot be used; segments in flight are no longer needed."""
        self.error = error

    def next_ready(self) -> ReadySegment | None:
        """Return the next segment in order of time; None while it is in flight."""
        return self._ready.get(len(self._emitted))

    def emit(self, segment: Segment) -> Segment:
        """Take the next segment out of the buffer, in its final form, and return it."""
        del self._ready[len(self._emitted)]
        self._emitted.append(segment)
        if segment.text:
            self.languages = (*self.languages, segment.language)[-2:]
        return segment

    def outcome(self, model: str) -> Outcome:
        """Return the result of a session that is `done`.

        Args:
            model: name of the model.
        """
        if self.error is not None:
            return Outcome(self.name, error=self.error)
        transcript = assemble_transcript(
            self._emitted,
            duration_s=self._duration_s,
            model=model,
            audio=self._path,
            notes=[note.message for note in self._notes],
        )
        return Outcome(self.name, transcript=transcript)
