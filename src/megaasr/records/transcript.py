"""Transcripts and the formats that they are written in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.errors import UsageError
from megaasr.records.marking import Marking, mark_segments
from megaasr.records.segments import Segment
from megaasr.records.subtitles import (
    DEFAULT_LAYOUT,
    SubtitleLayout,
    render_srt,
    render_tsv,
    render_txt,
    render_vtt,
)
from megaasr.text.languages import join_texts

TRANSCRIPT_SCHEMA = 2
"""Version of the JSON document. 2: `segments[].start` and `end` are those of the words; in 1 they
were the bounds of the chunk, now `chunk_start` and `chunk_end`."""
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True, repr=False)
class Transcript:
    """The transcript of one recording.

    Attributes:
        text: texts of all segments, joined.
        language: ISO code of the language whose segments are the longest in total; None without
            speech.
        duration_s: length of the recording in seconds.
        model: name that the model was loaded by.
        segments: segments in order of time, without overlap.
        reason: explanation of an empty `text`; None otherwise.
        audio: path of the recording as the caller wrote it; None if it did not come from a file.
        channel: name of the channel, `left` for example, if each was transcribed for itself.
        notes: what was unusual about the recording, one sentence each.
    """

    text: str
    language: str | None
    duration_s: float
    model: str
    segments: tuple[Segment, ...] = ()
    reason: str | None = None
    audio: str | None = None
    channel: str | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return the beginning of the text and what it belongs to, on one line."""
        text = self.text
        if len(text) > _SHOWN_CHARACTERS:
            text = text[:_SHOWN_CHARACTERS].rstrip() + "…"
        return (
            f"Transcript({text!r}, language={self.language!r}, duration_s={self.duration_s:g}, "
            f"segments={len(self.segments)}, model={self.model!r})"
        )

    @property
    def flags(self) -> tuple[str, ...]:
        """The distinct flags of all segments, in order of appearance."""
        return tuple(dict.fromkeys(flag for segment in self.segments for flag in segment.flags))

    @property
    def word_times(self) -> str:
        """Where the times of words are from: `attention`, `aligner`, `interpolated`, or `mixed`."""
        kinds = {segment.word_times or "interpolated" for segment in self.segments if segment.words}
        return "mixed" if len(kinds) > 1 else next(iter(kinds), "interpolated")

    def with_audio(self, audio: str) -> Transcript:
        """Return a copy that names the file it came from."""
        return replace(self, audio=audio)

    def to_dict(self) -> dict[str, Any]:
        """Return the transcript as JSON values (docs/transcripts.md); no number is infinite."""
        return {
            "schema": TRANSCRIPT_SCHEMA,
            "audio": self.audio,
            "channel": self.channel,
            "text": self.text,
            "language": self.language,
            "duration_s": self.duration_s,
            "model": self.model,
            "reason": self.reason,
            "notes": list(self.notes),
            "word_times": self.word_times,
            "segments": [strict_json.finite(asdict(segment)) for segment in self.segments],
        }

    def to_json(self) -> str:
        """Return the versioned JSON document that `mega-asr transcribe -f json` writes."""
        return strict_json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def to_txt(self) -> str:
        """Return one line of text per segment."""
        return render_txt(self.segments)

    def to_srt(self, layout: SubtitleLayout = DEFAULT_LAYOUT) -> str:
        """Return SubRip subtitles."""
        return render_srt(self.segments, layout)

    def to_vtt(self, layout: SubtitleLayout = DEFAULT_LAYOUT) -> str:
        """Return WebVTT subtitles."""
        return render_vtt(self.segments, layout)

    def to_tsv(self) -> str:
        """Return a table of start and end in milliseconds and text, with whisper's columns."""
        return render_tsv(self.segments)

    def marked(self, marking: Marking) -> Transcript:
        """Return a copy in which unintelligible words are kept, marked or left out, for display.

        Args:
            marking: `keep`, `mark` (`[unintelligible]` in their place) or `drop`.
        """
        segments = mark_segments(self.segments, marking)
        if segments == self.segments:
            return self
        text = join_texts((segment.text, segment.language) for segment in segments)
        reason = self.reason if text else self.reason or "no words can be made out"
        return replace(self, segments=segments, text=text, reason=reason)

    def render(self, format: str, layout: SubtitleLayout = DEFAULT_LAYOUT) -> str:
        """Return the content of a file in one of `FORMATS`; without speech it has no text lines.

        Args:
            format: `txt`, `srt`, `vtt`, `tsv` or `json`.
            layout: how subtitles look; the other formats ignore it.

        Raises:
            UsageError: the format is unknown.
        """
        if format not in _RENDERERS:
            raise UsageError(
                f"unknown output format {format!r}; choose one of {', '.join(FORMATS)}"
            )
        return _RENDERERS[format](self, layout)

    def save(self, path: str | Path) -> Path:
        """Write the transcript to a file in the format of its suffix, and return the path.

        Args:
            path: file whose suffix is one of `FORMATS`, such as `talk.srt`. The file appears
                complete or not at all.

        Raises:
            UsageError: the suffix is not a format.
            OSError: the file cannot be written.
        """
        path = Path(path)
        write_atomically(path, self.render(path.suffix.lower().lstrip(".")))
        return path


_RENDERERS: dict[str, Callable[[Transcript, SubtitleLayout], str]] = {
    "txt": lambda transcript, _: transcript.to_txt(),
    "srt": Transcript.to_srt,
    "vtt": Transcript.to_vtt,
    "tsv": lambda transcript, _: transcript.to_tsv(),
    "json": lambda transcript, _: transcript.to_json(),
}
FORMATS = tuple(_RENDERERS)
"""Names of the output formats; each is also the suffix of its files."""
