"""Transcripts in the formats of OpenAI's answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from megaasr import strict_json
from megaasr.records import Segment, Transcript, Word
from megaasr.serve.protocol import (
    DiarizedSegment,
    DurationUsage,
    LanguageCode,
    Shape,
    TimedWord,
    TranscriptionDiarizedJson,
    TranscriptionJson,
    TranscriptionVerboseJson,
    VerboseSegment,
    WordLogprob,
)
from megaasr.serve.transcription_form import OutputOptions
from megaasr.text.languages import join_texts
from megaasr.transcribe.checks import compression_ratio

_MEDIA_TYPES = {
    "text": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}
_MIN_CONFIDENCE = 1e-9  # its logarithm is finite


@dataclass(frozen=True, slots=True)
class Body:
    """The body of an answer.

    Attributes:
        content: text or JSON.
        media_type: its type.
    """

    content: str
    media_type: str


@dataclass(frozen=True, slots=True)
class _ChannelSegment:
    """A segment with the name of its channel, None if channels were not transcribed separately."""

    segment: Segment
    channel: str | None


def render(transcripts: Sequence[Transcript], output: OutputOptions) -> Body:
    """Return transcripts in the format that a request asks for.

    Args:
        transcripts: one, or one for each channel.
        output: how the answer looks.
    """
    marked = [transcript.marked(output.marking) for transcript in transcripts]
    media_type = _MEDIA_TYPES.get(output.response_format)
    if media_type is None:
        return Body(
            strict_json.dumps(_shape(marked, output).to_json(), ensure_ascii=False),
            "application/json",
        )
    (transcript,) = marked
    if output.response_format == "text":
        return Body(transcript.text + "\n", media_type)
    return Body(transcript.render(output.response_format, output.layout), media_type)


def word_logprobs(segments: Iterable[Segment]) -> list[WordLogprob]:
    """Return the logarithm of the confidence of every word that has one."""
    return [
        WordLogprob(
            token=word.text,
            bytes=list(word.text.encode()),
            logprob=math.log(max(word.confidence, _MIN_CONFIDENCE)),
        )
        for segment in segments
        for word in segment.words
        if word.confidence is not None
    ]


def language_codes(segments: Iterable[Segment]) -> list[LanguageCode]:
    """Return the languages of the segments with text, in order of appearance."""
    codes = dict.fromkeys(s.language for s in segments if s.text and s.language)
    return [LanguageCode(code=code) for code in codes]


def diarized_segments(transcripts: Sequence[Transcript]) -> list[DiarizedSegment]:
    """Return the segments with text of all channels, in order of time."""
    spoken = [item for item in _in_order(transcripts) if item.segment.text]
    return [
        DiarizedSegment(
            id=f"seg_{index}",
            start=item.segment.start,
            end=item.segment.end,
            speaker=item.channel or "channel1",
            text=item.segment.text,
            route=item.segment.route,
            confidence=item.segment.confidence,
            flags=list(item.segment.flags),
        )
        for index, item in enumerate(spoken)
    ]


def _shape(transcripts: Sequence[Transcript], output: OutputOptions) -> Shape:
    ordered = _in_order(transcripts)
    segments = [item.segment for item in ordered]
    first = transcripts[0]
    text = (
        first.text if len(transcripts) == 1 else join_texts((s.text, s.language) for s in segments)
    )
    duration_s = max(transcript.duration_s for transcript in transcripts)
    notes = list(dict.fromkeys(note for t in transcripts for note in t.notes))
    usage = DurationUsage(seconds=duration_s)
    logprobs = word_logprobs(segments) if output.logprobs else None
    reason = None if text else first.reason
    if output.response_format == "diarized_json":
        return TranscriptionDiarizedJson(
            duration=duration_s,
            text=text,
            segments=diarized_segments(transcripts),
            usage=usage,
            model=first.model,
            notes=notes,
        )
    if output.response_format == "json":
        return TranscriptionJson(
            text=text,
            languages=language_codes(segments),
            logprobs=logprobs,
            usage=usage,
            language=first.language,
            duration=duration_s,
            model=first.model,
            confidence=_mean_confidence(segments),
            flags=list(dict.fromkeys(flag for t in transcripts for flag in t.flags)),
            notes=notes,
            reason=reason,
        )
    wants = output.granularities
    return TranscriptionVerboseJson(
        language=first.language or "",
        duration=duration_s,
        text=text,
        segments=[_verbose(i, item) for i, item in enumerate(ordered)]
        if "segment" in wants
        else None,
        words=[w for s in segments for w in _timed_words(s)] if "word" in wants else None,
        usage=usage,
        languages=language_codes(segments),
        logprobs=logprobs,
        model=first.model,
        notes=notes,
        reason=reason,
    )


def _in_order(transcripts: Sequence[Transcript]) -> list[_ChannelSegment]:
    """Return the segments of all channels, ordered by their start."""
    segments = [_ChannelSegment(s, t.channel) for t in transcripts for s in t.segments]
    return segments if len(transcripts) == 1 else sorted(segments, key=lambda i: i.segment.start)


def _verbose(index: int, item: _ChannelSegment) -> VerboseSegment:
    segment = item.segment
    kept = (attempt.temperature for attempt in segment.attempts if attempt.text == segment.text)
    start_s = segment.start if segment.chunk_start is None else segment.chunk_start
    return VerboseSegment(
        id=index,
        seek=round(100 * start_s),
        start=segment.start,
        end=segment.end,
        text=segment.text,
        tokens=[],
        temperature=next(kept, 0.0),
        avg_logprob=segment.mean_logprob or 0.0,
        compression_ratio=compression_ratio(segment.text) if segment.text else 0.0,
        no_speech_prob=float("no_speech" in segment.flags),
        language=segment.language,
        channel=item.channel,
        route=segment.route,
        degraded_probability=segment.degraded_probability,
        route_reason=segment.route_reason,
        speech_probability=segment.speech_probability,
        confidence=segment.confidence,
        flags=list(segment.flags),
        checks=_dicts(segment.checks),
        attempts=_dicts(segment.attempts),
        alternatives=_dicts(segment.alternatives),
        word_alternatives=_dicts(segment.word_alternatives),
        unintelligible=_dicts(segment.unintelligible),
        word_times=segment.word_times,
    )


def _dicts(records: Iterable[Any]) -> list[dict[str, Any]]:
    return [strict_json.finite(asdict(record)) for record in records]


def _timed_words(segment: Segment) -> list[TimedWord]:
    """Return the words of a segment; one without times has those of the segment."""
    return [
        TimedWord(
            word=word.text,
            start=segment.start if word.start is None else word.start,
            end=segment.end if word.end is None else word.end,
            confidence=word.confidence,
        )
        for word in segment.words
    ]


def _mean_confidence(segments: Iterable[Segment]) -> float | None:
    words: list[Word] = [word for segment in segments for word in segment.words]
    confidences = [word.confidence for word in words if word.confidence is not None]
    return round(sum(confidences) / len(confidences), 4) if confidences else None
