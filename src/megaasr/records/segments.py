"""Segments of a transcript: words, quality checks and decoding attempts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WordTimes = Literal["attention", "aligner", "interpolated"]
"""Where the times of a segment's words are from."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a segment.

    Attributes:
        text: the word with adjacent punctuation.
        start, end: times in seconds from the start of the recording; None if unknown. The segment
            says where they are from.
        confidence: calibrated probability that the word is correct, 0..1; None if unknown.
    """

    text: str
    start: float | None
    end: float | None
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A failed quality check, see `megaasr.transcribe.checks`.

    Attributes:
        flag: name of the check.
        value: measured value.
        threshold: limit that the value was compared with.
    """

    flag: str
    value: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at decoding a chunk.

    Attributes:
        route: branch that decoded, `base` or `robust`.
        temperature: sampling temperature; 0 for greedy decoding.
        pieces: 2 if the halves of the chunk were decoded separately, else 1.
        samples: number of sampled transcripts that the text was chosen from; 0 if there was no
            choice.
        text: decoded text.
        mean_logprob: mean log-probability of the tokens; None if unknown.
        failed: flags of the checks that the attempt failed.
    """

    route: str
    temperature: float
    pieces: int
    text: str = ""
    mean_logprob: float | None = None
    failed: tuple[str, ...] = ()
    samples: int = 0


@dataclass(frozen=True, slots=True)
class Alternative:
    """A text that was sampled for a segment.

    Attributes:
        text: the text.
        share: share of the sampled and greedy texts with these words, 0..1.
        mean_logprob: highest mean log-probability of its tokens; None if unknown.
    """

    text: str
    share: float
    mean_logprob: float | None = None


@dataclass(frozen=True, slots=True)
class WordAlternative:
    """What other sampled or greedy texts have in the place of a word.

    Attributes:
        word: index of the word in the segment's words.
        text: the other word, with adjacent punctuation; empty if there is none in its place.
        share: share of the sampled and greedy texts that have it there, 0..1.
    """

    word: int
    text: str
    share: float


@dataclass(frozen=True, slots=True)
class UnintelligibleSpan:
    """A span of a segment's words that are more probably wrong than right.

    Attributes:
        start, end: times in seconds from the start of the recording; None if unknown.
        text: the words that were guessed.
        confidence: their mean confidence, 0..1; None if unknown.
        first_word, last_word: indices of the first and the last of them in the segment's words.
    """

    start: float | None
    end: float | None
    text: str
    confidence: float | None
    first_word: int
    last_word: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a recording of at most 30 s, and its text.

    Attributes:
        start, end: times of the first and the last word in seconds from the start of the
            recording; without text the bounds of the chunk.
        text: transcribed text; empty without speech.
        language: ISO code; None if the model detected no speech or the segment was not decoded.
        flags: names of facts that a reader should know, such as `token_budget_hit`, `no_speech`.
        route: branch that decoded the segment, `base` or `robust`; None if it was not decoded.
        degraded_probability: the router's probability of degraded audio, 0..1; None without router.
        route_reason: short explanation of the route.
        confidence: mean confidence of the words, 0..1; None if unknown.
        mean_logprob: mean log-probability of the tokens; None if unknown.
        speech_probability: the detector's highest probability of speech, 0..1; None without
            voice-activity detection or if the segment was not decoded.
        words: words with times, and confidence if the model gives probabilities.
        checks: quality checks that the text failed.
        attempts: all decoding attempts if there were several, else empty.
        unintelligible: spans of words that are more probably wrong than right.
        alternatives: the most frequent of the sampled and greedy texts, if they were asked for.
        word_alternatives: the most frequent alternatives of each word, if they were asked for.
        word_times: `attention` if the model told when the words are spoken, `aligner` if a forced
            aligner did, `interpolated` if their times are estimates from the detected speech; None
            without words.
        chunk_start, chunk_end: bounds of the chunk, in seconds; the chunks of a recording cover it
            without gaps. None for segments that were not made from a chunk.
    """

    start: float
    end: float
    text: str
    language: str | None = None
    flags: tuple[str, ...] = ()
    route: str | None = None
    degraded_probability: float | None = None
    route_reason: str | None = None
    confidence: float | None = None
    mean_logprob: float | None = None
    words: tuple[Word, ...] = ()
    checks: tuple[Check, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    chunk_start: float | None = None
    chunk_end: float | None = None
    speech_probability: float | None = None
    word_times: WordTimes | None = None
    alternatives: tuple[Alternative, ...] = ()
    word_alternatives: tuple[WordAlternative, ...] = ()
    unintelligible: tuple[UnintelligibleSpan, ...] = ()
