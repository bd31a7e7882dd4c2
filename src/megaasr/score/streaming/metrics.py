"""Measures of live transcription. Pure functions; docs/streaming.md has definitions and sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from megaasr.score.streaming.updates import ClipRun
from megaasr.text.error_rate import ErrorCounts, align_tokens, count_token_errors, pooled
from megaasr.text.normalize import Tokens, tokens

Tokenize = Callable[[str], Tokens]


@dataclass(frozen=True, slots=True)
class TimedToken:
    """A token of a reference.

    Attributes:
        text: the token.
        end_s: when it has been spoken, in seconds from the beginning of the recording.
    """

    text: str
    end_s: float


@dataclass(frozen=True, slots=True)
class ClipMeasures:
    """What is measured of one recording.

    Attributes:
        errors: errors of the final text.
        emission_s: for every correct word, from its end to the first time it is shown, in seconds.
        confirmation_s: the same, to when it is confirmed.
        finalisation_s: for every time that all text is confirmed, from the end of its last correct
            word to then, in seconds.
        lags_s: the terms of LongYAAL, in seconds.
        unstable_words: words of a shown text that the next one does not have.
        erased_words: words after the first difference between a shown text and the next one.
        final_words: words of the final text.
        segments: number of times that all text was confirmed.
        revised_segments: how many of them had a word taken back before.
        changed_confirmed: number of updates that changed confirmed text.
        audio_s: seconds of audio.
        compute_s: seconds of computing; None if unknown.
        steps: number of requests to the model; None if unknown.
    """

    errors: ErrorCounts
    emission_s: tuple[float, ...]
    confirmation_s: tuple[float, ...]
    finalisation_s: tuple[float, ...]
    lags_s: tuple[float, ...]
    unstable_words: int
    erased_words: int
    final_words: int
    segments: int
    revised_segments: int
    changed_confirmed: int
    audio_s: float
    compute_s: float | None
    steps: int | None


@dataclass(frozen=True, slots=True)
class _Shown:
    """An update in tokens."""

    clock_s: float
    confirmed: Tokens
    shown: Tokens
    confirmed_text: str


def measure_clip(
    run: ClipRun, reference: Sequence[TimedToken], audio_s: float, tokenize: Tokenize
) -> ClipMeasures:
    """Measure what a system did with one recording.

    Args:
        run: what it showed and when.
        reference: the tokens of the reference.
        audio_s: length of the recording in seconds.
        tokenize: returns the tokens of a text, as those of the reference were made.
    """
    updates = [
        _Shown(u.clock_s, tokenize(u.confirmed), tokenize(u.shown), u.confirmed)
        for u in run.updates
    ]
    final: Tokens = updates[-1].shown if updates else ()
    expected = [token.text for token in reference]
    ends = _ends_of_hits(reference, final)
    shown_s = _first_times(final, [(u.clock_s, u.shown) for u in updates])
    confirmed_s = _first_times(final, [(u.clock_s, u.confirmed) for u in updates])
    changes = [(before.shown, after.shown) for before, after in pairwise(updates)]
    segments, revised = _count_segments(updates)
    return ClipMeasures(
        errors=count_token_errors(expected, final),
        emission_s=tuple(shown_s[i] - end for i, end in ends.items()),
        confirmation_s=tuple(confirmed_s[i] - end for i, end in ends.items() if i in confirmed_s),
        finalisation_s=_finalisations(updates, ends),
        lags_s=_lags(shown_s, len(final), len(expected), audio_s),
        unstable_words=sum(_count_unstable(*pair) for pair in changes),
        erased_words=sum(len(a) - _common(a, b) for a, b in changes),
        final_words=len(final),
        segments=segments,
        revised_segments=revised,
        changed_confirmed=sum(
            not after.confirmed_text.startswith(before.confirmed_text)
            for before, after in pairwise(updates)
        ),
        audio_s=audio_s,
        compute_s=run.compute_s,
        steps=run.steps,
    )


def summarize(measures: Iterable[ClipMeasures]) -> dict[str, float | int | None]:
    """Return the measures of many recordings together, by name (docs/streaming.md)."""
    clips = list(measures)
    errors = pooled(clip.errors for clip in clips)
    audio_s = sum(clip.audio_s for clip in clips)
    words = sum(clip.final_words for clip in clips)
    segments = sum(clip.segments for clip in clips)
    costs = [clip.compute_s for clip in clips]
    steps = [clip.steps for clip in clips]
    compute_s = None if None in costs else sum(cost or 0.0 for cost in costs)
    count = None if None in steps else sum(step or 0 for step in steps)
    lags = [lag for clip in clips for lag in clip.lags_s]
    return {
        "clips": len(clips),
        "reference_words": errors.reference_length,
        "wer": errors.rate if errors.reference_length else None,
        "inserted_words": errors.insertions,
        **_percentiles("emission_s", [s for clip in clips for s in clip.emission_s]),
        **_percentiles("confirmation_s", [s for clip in clips for s in clip.confirmation_s]),
        **_percentiles("finalisation_s", [s for clip in clips for s in clip.finalisation_s]),
        "long_yaal_s": float(np.mean(lags)) if lags else None,
        "unstable_partial_words": _ratio(sum(c.unstable_words for c in clips), words),
        "normalised_erasure": _ratio(sum(c.erased_words for c in clips), words),
        "revised_segments": _ratio(sum(c.revised_segments for c in clips), segments),
        "changed_confirmed": sum(clip.changed_confirmed for clip in clips),
        "audio_s": audio_s,
        "steps_per_audio_s": None if count is None else _ratio(count, audio_s),
        "real_time_factor": None if compute_s is None else _ratio(compute_s, audio_s),
    }


def timed_tokens(
    words: Iterable[tuple[str, float]], language: str | None, normalizer: str
) -> tuple[TimedToken, ...]:
    """Return the tokens of words with the times of their ends, in seconds."""
    return tuple(
        TimedToken(token, end_s)
        for word, end_s in words
        for token in tokens(word, language, normalizer)
    )


def _ends_of_hits(reference: Sequence[TimedToken], final: Tokens) -> dict[int, float]:
    """Return, by index in the final text, when each correct word had been spoken."""
    ends: dict[int, float] = {}
    spoken, written = iter(reference), 0
    for step in align_tokens([token.text for token in reference], final):
        token = next(spoken) if step.reference is not None else None
        if step.kind == "hit" and token is not None:
            ends[written] = token.end_s
        written += step.hypothesis is not None
    return ends


def _first_times(final: Tokens, texts: Sequence[tuple[float, Tokens]]) -> dict[int, float]:
    """Return when each word of the final text was in its place for the first time."""
    first: dict[int, float] = {}
    for clock_s, text in texts:
        for index, (word, other) in enumerate(zip(final, text, strict=False)):
            if word == other:
                first.setdefault(index, clock_s)
    return first


def _finalisations(updates: Sequence[_Shown], ends: dict[int, float]) -> tuple[float, ...]:
    delays, done = [], 0
    for update in updates:
        count = len(update.confirmed)
        if count > done and count == len(update.shown):
            last = [ends[i] for i in range(done, count) if i in ends]
            delays += [update.clock_s - last[-1]] if last else []
            done = count
    return tuple(delays)


def _lags(
    shown_s: dict[int, float], written: int, expected: int, audio_s: float
) -> tuple[float, ...]:
    """Return how late each word is shown after an even pace, leaving out those after the end."""
    longest = max(written, expected)
    return tuple(
        time_s - index * audio_s / longest
        for index, time_s in sorted(shown_s.items())
        if time_s < audio_s
    )


def _count_segments(updates: Sequence[_Shown]) -> tuple[int, int]:
    """Return how often all text was confirmed, and before how many of them text was revised."""
    segments = revised = done = 0
    is_revised = False
    previous: Tokens = ()
    for update in updates:
        is_revised = is_revised or _common(previous, update.shown) < len(previous)
        previous = update.shown
        if len(update.confirmed) > done and len(update.confirmed) == len(update.shown):
            segments, revised = segments + 1, revised + is_revised
            done, is_revised = len(update.confirmed), False
    return segments, revised


def _count_unstable(before: Tokens, after: Tokens) -> int:
    """Return how many words of a text the next one does not have in their place."""
    steps = align_tokens(before, after)
    return sum(step.kind in ("substitution", "deletion") for step in steps)


def _common(first: Tokens, second: Tokens) -> int:
    """Return the length of the longest common beginning."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))


def _percentiles(name: str, values: Sequence[float]) -> dict[str, float | None]:
    return {
        f"{name}_p{q}": float(np.percentile(values, q)) if values else None for q in (50, 90, 99)
    }


def _ratio(part: float, total: float) -> float | None:
    return part / total if total else None
