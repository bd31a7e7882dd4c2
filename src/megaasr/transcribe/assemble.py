"""From decoded chunks to segments, and from segments to a transcript. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from megaasr.model.interface import Recognition
from megaasr.records import Check, Segment, Transcript, Word
from megaasr.records.segments import WordTimes
from megaasr.route.decision import RouteDecision
from megaasr.text.languages import join_texts
from megaasr.transcribe.chunking import MIN_DURATION_S, Chunk
from megaasr.transcribe.fallback import ChunkDecoding
from megaasr.transcribe.options import ReliabilityOptions
from megaasr.transcribe.segment_facts import Calibrate, SegmentFacts, uncalibrated
from megaasr.transcribe.unintelligible import find_unintelligible
from megaasr.transcribe.word_alternatives import rank_word_alternatives
from megaasr.transcribe.word_times import interpolate_text, interpolate_words, time_words


def skipped_segment(chunk: Chunk, flags: tuple[str, ...]) -> Segment:
    """Return the segment of a chunk that was not decoded, with the reasons as flags."""
    return Segment(
        chunk.start_s,
        chunk.end_s,
        text="",
        flags=flags,
        chunk_start=chunk.start_s,
        chunk_end=chunk.end_s,
    )


def assemble_segment(
    chunk: Chunk,
    decoding: ChunkDecoding,
    decision: RouteDecision,
    *,
    reliability: ReliabilityOptions,
    calibration: Calibrate = uncalibrated,
    flags: tuple[str, ...] = (),
) -> Segment:
    """Return the segment of a decoded chunk.

    Args:
        chunk: the audio.
        decoding: all attempts at it.
        decision: the router's decision.
        reliability: thresholds, and whether unreliable text is removed.
        calibration: maps the model's probability of a word to its confidence.
        flags: facts about the chunk that were known before it was decoded.
    """
    best = decoding.best
    result, text = best.recognition, best.attempt.text
    checks = list(best.failed_checks)
    disagreement = decoding.branch_disagreement()
    limit = reliability.thresholds.branches_disagree
    if disagreement is not None and disagreement > limit:
        checks.append(Check("branches_disagree", round(disagreement, 4), limit))
    segment_flags = [check.flag for check in checks]
    if not text and not result.budget_hit:  # an output that was cut off states no verdict
        segment_flags.insert(0, "no_speech" if result.language is None else "no_words")
    speech = chunk.speech_probability
    facts = SegmentFacts(best.attempt.mean_logprob, decision.degraded_probability)
    words, word_times = _words(text, result, chunk, lambda value: calibration(value, facts))
    if text and best.failed_checks:
        segment_flags.append("unreliable")
        if reliability.drop_unreliable:
            segment_flags.append("dropped")
            text, words = "", ()
    choice = decoding.choice
    times = [time for word in words for time in (word.start, word.end) if time is not None]
    confidences = [word.confidence for word in words if word.confidence is not None]
    return Segment(
        start=min(times, default=chunk.start_s),
        end=max(times, default=chunk.end_s),
        text=text,
        language=result.language,
        flags=(*segment_flags, *flags),
        route=best.attempt.route,
        degraded_probability=decision.degraded_probability,
        route_reason=_route_reason(decision, best.attempt.route),
        confidence=round(sum(confidences) / len(confidences), 4) if confidences else None,
        mean_logprob=best.attempt.mean_logprob,
        speech_probability=None if speech is None else round(speech, 4),
        words=words,
        checks=tuple(checks),
        attempts=decoding.attempts if len(decoding.attempts) > 1 else (),
        chunk_start=chunk.start_s,
        chunk_end=chunk.end_s,
        word_times=word_times if words else None,
        alternatives=choice.alternatives if choice else (),
        word_alternatives=rank_word_alternatives(
            [word.text for word in words], choice.texts, result.language, len(choice.alternatives)
        )
        if choice
        else (),
        unintelligible=find_unintelligible(
            words,
            reliability.unintelligible_below,
            result.language,
            is_speech_detected="speech_not_detected" not in segment_flags,
        ),
    )


def assemble_transcript(
    segments: Sequence[Segment],
    *,
    duration_s: float,
    model: str,
    audio: str | None,
    notes: Sequence[str] = (),
) -> Transcript:
    """Return the transcript of one recording.

    Args:
        segments: all segments in order of time.
        duration_s: length of the recording in seconds.
        model: name of the model.
        audio: path of the recording; None if it did not come from a file.
        notes: what was unusual about the recording.
    """
    text = join_texts((segment.text, segment.language) for segment in segments)
    return Transcript(
        text=text,
        language=_main_language(segments),
        duration_s=duration_s,
        model=model,
        segments=tuple(segments),
        reason=None if text else _empty_reason(segments, duration_s),
        audio=audio,
        notes=tuple(notes),
    )


def _words(
    text: str, result: Recognition, chunk: Chunk, calibration: Callable[[float], float]
) -> tuple[tuple[Word, ...], WordTimes]:
    """Return the words of a text, with confidence if the model gives probabilities, and where
    their times are from."""
    if not text:
        return (), "interpolated"
    if result.words:
        timed = time_words(result.words, chunk, calibration)
        if timed is not None and result.timed_by is not None:
            return timed, result.timed_by
        return interpolate_words(result.words, chunk, calibration), "interpolated"
    return interpolate_text(text, result.language, chunk), "interpolated"


def _route_reason(decision: RouteDecision, kept_route: str) -> str | None:
    """Return why the router selected a branch, and which branch's text was kept if another."""
    if not decision.reason or kept_route == decision.route:
        return decision.reason or None
    return f"{decision.reason}; the text of the {kept_route} branch was kept"


def _main_language(segments: Iterable[Segment]) -> str | None:
    """Return the language that is spoken the longest in total; ties go to the first."""
    seconds: dict[str, float] = {}
    for segment in segments:
        if segment.text and segment.language is not None:
            duration_s = segment.end - segment.start
            seconds[segment.language] = seconds.get(segment.language, 0.0) + duration_s
    return max(seconds, key=seconds.__getitem__) if seconds else None


def _empty_reason(segments: Sequence[Segment], duration_s: float) -> str:
    """Return why a transcript is empty."""
    flags = [segment.flags for segment in segments]
    if any("too_short" in segment_flags for segment_flags in flags):
        duration_ms = duration_s * 1000.0
        min_ms = MIN_DURATION_S * 1000
        return f"too short: {duration_ms:.3g} ms; at least {min_ms:.0f} ms is needed"
    if all("silent" in segment_flags for segment_flags in flags):
        return "no speech: the recording is silent"
    if any("dropped" in segment_flags for segment_flags in flags):
        return "all text was unreliable and was removed (--drop-unreliable)"
    if all("no_speech" in segment_flags for segment_flags in flags):
        return "no speech was detected"
    if any("token_budget_hit" in segment_flags for segment_flags in flags):
        return "the model wrote no words before its token budget ended"
    return "the model detected speech but recognized no words"
