"""Word times, interpolated over the detected speech of a chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.model.interface import RecognizedWord
from megaasr.records import Word
from megaasr.transcribe.chunking import SPEECH_THRESHOLD, VAD_FRAME, Chunk


def interpolate_words(
    words: Sequence[RecognizedWord], chunk: Chunk, calibration: Callable[[float], float]
) -> tuple[Word, ...]:
    """Return words with estimated times and calibrated confidence.

    The share of a word in the speech of the chunk (in all of the chunk without voice-activity
    detection) is its share of the characters; detected pauses belong to no word.

    Args:
        words: recognized words in order.
        chunk: the audio that they were recognized in.
        calibration: maps the model's probability of a word to its confidence.
    """
    if not words:
        return ()
    lengths = np.array([max(1, len(word.text)) for word in words], dtype=np.float64)
    boundaries = np.concatenate([[0.0], np.cumsum(lengths) / lengths.sum()])
    starts, ends = (chunk.start_s + times_s for times_s in _times_of_shares(chunk, boundaries))
    return tuple(
        Word(
            word.text,
            round(float(start), 3),
            round(float(end), 3),
            round(calibration(word.probability), 4),
        )
        for word, start, end in zip(words, starts, ends, strict=True)
    )


def _times_of_shares(
    chunk: Chunk, boundaries: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the start and end times of words that divide the speech of a chunk.

    Args:
        chunk: the chunk, with or without probabilities of speech.
        boundaries: cumulative shares of the words, float64 of shape [words + 1], from 0 to 1.

    Returns:
        Two arrays of shape [words] in seconds from the start of the chunk. A word at a pause ends
        before it, and the next word starts after it.
    """
    length_s = len(chunk.samples) / SAMPLE_RATE
    if chunk.speech is None or not (chunk.speech >= SPEECH_THRESHOLD).any():
        return boundaries[:-1] * length_s, boundaries[1:] * length_s
    speech = (chunk.speech >= SPEECH_THRESHOLD).astype(np.float64)
    cumulative = np.concatenate([[0.0], np.cumsum(speech)]) / speech.sum()
    last = len(speech) - 1
    step = 1.0 / speech.sum()
    first = np.searchsorted(cumulative, boundaries[:-1] + 1e-9, side="right") - 1
    final = np.searchsorted(cumulative, boundaries[1:] - 1e-9, side="left") - 1
    first, final = np.clip(first, 0, last), np.clip(final, 0, last)
    starts = first + (boundaries[:-1] - cumulative[first]) / step
    ends = final + np.minimum(1.0, (boundaries[1:] - cumulative[final]) / step)
    frame_s = VAD_FRAME / SAMPLE_RATE
    return np.minimum(starts * frame_s, length_s), np.minimum(ends * frame_s, length_s)
