"""Word times: those of the model's attention, or estimates from the detected speech of a chunk.

For estimates, the speech is divided into *spans* at the pauses. Every word lies in one span: where
a pause falls between two words, the boundary is taken whose share of the text is closest to the
share of the speech before the pause, with a preference for the ends of sentences and clauses.
Within a span, a word's share of the speech is its share of the characters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.model.interface import RecognizedWord
from megaasr.records import Word
from megaasr.text.languages import split_words
from megaasr.transcribe.chunking import SPEECH_THRESHOLD, VAD_FRAME, Chunk, loud_frames

Mask = NDArray[np.bool_]

_FRAME_S = VAD_FRAME / SAMPLE_RATE
_MIN_PAUSE_FRAMES = 10  # 0.32 s: shorter gaps occur within words
_MAX_CHARACTERS_PER_S = 25.0  # a text that needs more than this was spoken where none was detected
_LOWER_THRESHOLDS = (0.3, 0.1)
# Seconds of mismatch that are accepted to put a pause after the end of a sentence
# or of a clause; `python -m benchmarks.word_times` measures the effect.
_SENTENCE_BONUS_S, _CLAUSE_BONUS_S = 3.0, 0.7
_FORBIDDEN_S = 1000.0
_SENTENCE_END, _CLAUSE_END = ".!?…。！？।॥؟۔။។", ",;:،、，；："
_CLOSING = "\"'”’»)]}」』）】"


def time_words(
    words: Sequence[RecognizedWord], chunk: Chunk, calibration: Callable[[float], float]
) -> tuple[Word, ...] | None:
    """Return words with the times of the model and calibrated confidence; None without its times.

    The detector has the last word on silence: what lies in a pause at the start or the end of a
    word does not belong to it.

    Args:
        words: recognized words in order.
        chunk: the audio that they were recognized in.
        calibration: maps the model's probability of a word to its confidence.
    """
    offset_s = chunk.trimmed_start_s
    spans = _spans(_speech_mask(chunk, float(sum(len(word.text) for word in words))))
    bounds_s = [
        (chunk.start_s + start * _FRAME_S, chunk.start_s + end * _FRAME_S) for start, end in spans
    ]
    timed = []
    for word in words:
        if word.start_s is None or word.end_s is None:
            return None
        start, end = _within_speech(offset_s + word.start_s, offset_s + word.end_s, bounds_s)
        confidence = round(calibration(word.probability), 4)
        start, end = (round(min(max(t, chunk.start_s), chunk.end_s), 3) for t in (start, end))
        timed.append(Word(word.text, start, end, confidence))
    return tuple(timed)


def _within_speech(
    start: float, end: float, spans: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    """Return an interval without the pauses at its start and its end; all of it if it lies in a
    pause."""
    inside = [(first, last) for first, last in spans if first < end and last > start]
    if not inside:
        return start, end
    return max(start, inside[0][0]), min(end, inside[-1][1])


def interpolate_words(
    words: Sequence[RecognizedWord], chunk: Chunk, calibration: Callable[[float], float]
) -> tuple[Word, ...]:
    """Return words with estimated times and calibrated confidence.

    Args:
        words: recognized words in order.
        chunk: the audio that they were recognized in.
        calibration: maps the model's probability of a word to its confidence.
    """
    times = estimate_times([word.text for word in words], chunk)
    return tuple(
        Word(word.text, start, end, round(calibration(word.probability), 4))
        for word, (start, end) in zip(words, times, strict=True)
    )


def interpolate_text(text: str, language: str | None, chunk: Chunk) -> tuple[Word, ...]:
    """Return the words of a text whose model gives no words, with estimated times.

    Args:
        text: recognized text.
        language: ISO code; without spaces between words, each character is a word.
        chunk: the audio that the text was recognized in.
    """
    texts = split_words(text, language)
    times = estimate_times(texts, chunk)
    return tuple(Word(word, start, end) for word, (start, end) in zip(texts, times, strict=True))


def estimate_times(texts: Sequence[str], chunk: Chunk) -> list[tuple[float, float]]:
    """Return the estimated start and end of each word, in seconds from the recording's beginning.

    Args:
        texts: the words of a chunk in order.
        chunk: the audio, with or without probabilities of speech.
    """
    if not texts:
        return []
    lengths = np.array([max(1, len(text)) for text in texts], dtype=np.float64)
    mask = _speech_mask(chunk, float(lengths.sum()))
    spans = _spans(mask)
    cuts = _cuts(texts, lengths, [int(mask[start:end].sum()) * _FRAME_S for start, end in spans])
    times: list[tuple[float, float]] = []
    for (start, end), first, last in zip(spans, cuts[:-1], cuts[1:], strict=True):
        starts, ends = _times_in_span(mask[start:end], lengths[first:last])
        offset_s = chunk.start_s + start * _FRAME_S
        for word_start, word_end in zip(starts.tolist(), ends.tolist(), strict=True):
            times.append(
                (
                    round(min(offset_s + word_start * _FRAME_S, chunk.end_s), 3),
                    round(min(offset_s + word_end * _FRAME_S, chunk.end_s), 3),
                )
            )
    return times


def _speech_mask(chunk: Chunk, characters: float) -> Mask:
    """Return which frames of 32 ms count as speech, bool of shape [frames]; at least one does.

    If the text is too long for the detected speech, frames with a lower probability count too.

    Args:
        chunk: the audio.
        characters: number of characters of its text.
    """
    if chunk.speech is None or not len(chunk.speech):
        return loud_frames(chunk.samples)
    min_frames = min(characters / _MAX_CHARACTERS_PER_S / _FRAME_S, len(chunk.speech))
    for threshold in (SPEECH_THRESHOLD, *_LOWER_THRESHOLDS):
        mask: Mask = chunk.speech >= threshold
        if mask.sum() >= max(1.0, min_frames):
            return mask
    possible = np.flatnonzero(mask if mask.any() else chunk.speech >= chunk.speech.max() / 2)
    mask = np.zeros(len(chunk.speech), dtype=np.bool_)
    missing = max(0, round(min_frames) - int(possible[-1] + 1 - possible[0]))
    mask[max(0, possible[0] - missing // 2) : possible[-1] + 1 + (missing + 1) // 2] = True
    return mask


def _spans(mask: Mask) -> list[tuple[int, int]]:
    """Return the first frame and the frame after the last of every span of speech."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0)).tolist()
    spans = [(edges[0], edges[1])]
    for start, end in zip(edges[2::2], edges[3::2], strict=True):
        if start - spans[-1][1] < _MIN_PAUSE_FRAMES:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


def _cuts(texts: Sequence[str], lengths: NDArray[np.float64], spans: Sequence[float]) -> list[int]:
    """Return the index of the first word of each span, and the number of words.

    A span may have no words: not all that is detected as speech is speech.

    Args:
        texts: the words.
        lengths: their lengths in characters, float64 of shape [words].
        spans: seconds of speech in each span.
    """
    count = len(texts)
    spoken_s = np.concatenate([[0.0], np.cumsum(lengths) / lengths.sum() * sum(spans)])
    bonus_s = np.array([0.0, *(_boundary_bonus(text) for text in texts)])
    # Punctuation that is a word of its own (Chinese) is not spoken after a pause.
    bonus_s[:-1][[not any(map(str.isalnum, text)) for text in texts]] = -_FORBIDDEN_S
    # Dynamic programming: [word] is the least cost of all words before it in the spans so far.
    cost = np.full(count + 1, np.inf)
    cost[0] = 0.0
    previous: list[NDArray[np.intp]] = []
    for span_s in spans:
        # [end, start]: the words from start to end lie in this span
        mismatch_s = np.abs(spoken_s[:, None] - spoken_s[None, :] - span_s)
        mismatch_s[np.triu_indices(count + 1, 1)] = np.inf
        totals = cost[None, :] + mismatch_s
        previous.append(totals.argmin(axis=1))
        cost = totals.min(axis=1) - np.minimum(bonus_s, span_s)
    cuts = [count]
    for starts in reversed(previous):
        cuts.append(int(starts[cuts[-1]]))
    return cuts[::-1]


def _boundary_bonus(text: str) -> float:
    """Return how much sooner than elsewhere, in seconds, a pause is assumed after a word."""
    last = text.rstrip(_CLOSING)[-1:]
    if last and last in _SENTENCE_END:
        return _SENTENCE_BONUS_S
    return _CLAUSE_BONUS_S if last and last in _CLAUSE_END else 0.0


def _times_in_span(
    speech: Mask, lengths: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the start and end of words that divide the speech of a span.

    Args:
        speech: which frames of the span are speech, bool of shape [frames].
        lengths: lengths of the words, float64 of shape [words].

    Returns:
        Two arrays of shape [words] in frames from the start of the span. A word at a gap ends
        before it, and the next word starts after it.
    """
    if not len(lengths):
        return lengths, lengths
    boundaries = np.concatenate([[0.0], np.cumsum(lengths) / lengths.sum()])
    cumulative = np.concatenate([[0.0], np.cumsum(speech.astype(np.float64))]) / speech.sum()
    last = len(speech) - 1
    first = np.searchsorted(cumulative, boundaries[:-1] + 1e-9, side="right") - 1
    final = np.searchsorted(cumulative, boundaries[1:] - 1e-9, side="left") - 1
    first, final = np.clip(first, 0, last), np.clip(final, 0, last)
    starts = first + (boundaries[:-1] - cumulative[first]) * speech.sum()
    ends = final + np.minimum(1.0, (boundaries[1:] - cumulative[final]) * speech.sum())
    return starts, ends
