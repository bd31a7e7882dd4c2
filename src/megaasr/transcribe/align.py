"""Times of words by a forced aligner, which corrects nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.model.interface import AlignedTime, Recognition, WordAligner
from megaasr.transcribe.fallback import ChunkDecoding

_MIN_WORD_S = 0.02
"""Aligners give some words no duration."""


def align_best(decoding: ChunkDecoding, samples: Samples, aligner: WordAligner) -> ChunkDecoding:
    """Return a decoding whose best attempt has the aligner's times.

    Args:
        decoding: the attempts at a chunk.
        samples: audio that they were made from, float32 of shape [time], 16 kHz mono.
        aligner: times the words.
    """
    best = decoding.best
    words = [word.text for word in best.recognition.words]
    if not words or not best.attempt.text or best.recognition.language not in aligner.languages:
        return decoding
    timed = with_times(best.recognition, aligner.align(samples, words), len(samples) / SAMPLE_RATE)
    scored = tuple(
        replace(attempt, recognition=timed) if attempt is best else attempt
        for attempt in decoding.scored
    )
    return replace(decoding, scored=scored)


def with_times(
    recognition: Recognition, times: Sequence[AlignedTime | None], duration_s: float
) -> Recognition:
    """Return a recognition with times of its words, which do not overlap and have a duration.

    A word that could not be aligned (punctuation, for example) lies between its neighbours.

    Args:
        recognition: recognition with words.
        times: time of each word.
        duration_s: length of the audio.
    """
    least_s = min(_MIN_WORD_S, duration_s / max(1, len(times)))
    bounds: list[tuple[float, float]] = []
    last = 0.0
    for time in times:
        start = last if time is None else max(last, time.start_s)
        last = start + least_s if time is None else max(start + least_s, time.end_s)
        bounds.append((start, last))
    following = duration_s
    for index in range(len(bounds) - 1, -1, -1):  # nothing after the end of the audio
        start, end = bounds[index]
        end = min(end, following)
        following = min(start, end - least_s)
        bounds[index] = (following, end)
    words = tuple(
        replace(word, start_s=start, end_s=end)
        for word, (start, end) in zip(recognition.words, bounds, strict=True)
    )
    return replace(recognition, words=words, timed_by="aligner")
