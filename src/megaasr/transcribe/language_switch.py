"""Decoding a segment again whose language differs from that of the two before it. Pure functions.

A model that identifies the language of every chunk sometimes errs on one of them. A segment whose
language differs from the two segments before it, which agree, is decoded again with their language
forced; the more probable text is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from megaasr.records import Attempt, Check, Segment
from megaasr.transcribe.fallback import ChunkDecoding

HISTORY = 2
"""Number of preceding segments that must agree."""


def expected_language(history: Sequence[str | None], segment: Segment) -> str | None:
    """Return the language to decode a segment in again; None if its language is plausible.

    Args:
        history: languages of the segments with text before it, the latest last.
        segment: the segment in question.
    """
    if len(history) < HISTORY or not segment.text:
        return None
    previous, latest = history[-HISTORY:]
    if latest is None or previous != latest or segment.language in (latest, None):
        return None
    return latest


def resolve_language_switch(segment: Segment, forced: Segment, decoding: ChunkDecoding) -> Segment:
    """Return the more probable of two segments that were decoded from the same chunk.

    Args:
        segment: the segment in the language that the model identified.
        forced: the segment in the language of the segments before it.
        decoding: the attempts that `forced` was assembled from.

    Returns:
        `forced` if it passed all checks with a higher log-probability; else `segment`, flagged with
        `language_flip`. The attempts of both are listed.
    """
    attempts = (*(segment.attempts or (_only_attempt(segment),)), *decoding.attempts)
    best = decoding.best
    reliable = best.attempt.text and not best.failed_checks
    if reliable and _logprob(best.attempt) > _logprob(segment):
        return replace(forced, attempts=attempts, route_reason=segment.route_reason)
    return replace(
        segment,
        flags=(*segment.flags, "language_flip"),
        checks=(*segment.checks, Check("language_flip", 1.0, 1.0)),
        attempts=attempts,
    )


def _logprob(result: Segment | Attempt) -> float:
    return -math.inf if result.mean_logprob is None else result.mean_logprob


def _only_attempt(segment: Segment) -> Attempt:
    failed = tuple(check.flag for check in segment.checks)
    return Attempt(
        segment.route or "base",
        temperature=0.0,
        pieces=1,
        text=segment.text,
        mean_logprob=segment.mean_logprob,
        failed=failed,
    )
