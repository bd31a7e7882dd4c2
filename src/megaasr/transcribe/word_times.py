"""When each word of a segment was said: interpolated over the speech in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.model.interface import SpokenWord
from megaasr.records import Word
from megaasr.transcribe.segment import SPEECH, VAD_FRAME, Piece


def timed_words(
    words: Sequence[SpokenWord], piece: Piece, calibration: Callable[[float], float]
) -> tuple[Word, ...]:
    """Return words with estimated times and their confidence.

    Each word gets the share of the piece's speech (of all of it without VAD) that it has of the
    characters; pauses that the VAD hears belong to no word's share.

    Args:
        words: in order.
        piece: that they were heard in.
        calibration: from the model's probability of a word to its confidence.
    """
    if not words:
        return ()
    lengths = np.array([max(1, len(one.text)) for one in words], dtype=np.float64)
    shares = np.concatenate([[0.0], np.cumsum(lengths) / lengths.sum()])
    times = piece.start_s + _at_share(piece, shares)
    return tuple(
        Word(
            one.text,
            round(float(times[at]), 3),
            round(float(times[at + 1]), 3),
            round(calibration(one.probability), 4),
        )
        for at, one in enumerate(words)
    )


def _at_share(piece: Piece, shares: np.ndarray) -> np.ndarray:
    """Return the seconds from the piece's start at which so much of its speech is over."""
    length_s = len(piece.samples) / SAMPLE_RATE
    if piece.speech is None or not (piece.speech >= SPEECH).any():
        return np.asarray(shares * length_s)
    spoken = (piece.speech >= SPEECH).astype(np.float64)
    over = np.concatenate([[0.0], np.cumsum(spoken)]) / spoken.sum()
    edges = np.minimum(np.arange(len(over)) * VAD_FRAME / SAMPLE_RATE, length_s)
    # Flat where nobody speaks: a tiny slope keeps the inverse unique.
    rising = over + 1e-9 * np.arange(len(over))
    return np.asarray(np.interp(shares, rising / rising[-1], edges))
