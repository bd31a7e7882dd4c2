"""When each word of a segment was said: interpolated over the speech in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

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
    starts, ends = (piece.start_s + one for one in _at_shares(piece, shares))
    return tuple(
        Word(
            one.text,
            round(float(starts[at]), 3),
            round(float(ends[at]), 3),
            round(calibration(one.probability), 4),
        )
        for at, one in enumerate(words)
    )


def _at_shares(
    piece: Piece, shares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where words start and end that have these shares of the piece's speech.

    Args:
        piece: with its probabilities of speech, or without.
        shares: float64 [words + 1], the borders of the words, from 0 to 1.

    Returns:
        Seconds from the piece's start. At a pause a word ends before it, and the next starts after.
    """
    length_s = len(piece.samples) / SAMPLE_RATE
    if piece.speech is None or not (piece.speech >= SPEECH).any():
        return shares[:-1] * length_s, shares[1:] * length_s
    spoken = (piece.speech >= SPEECH).astype(np.float64)
    over = np.concatenate([[0.0], np.cumsum(spoken)]) / spoken.sum()
    last = len(spoken) - 1
    before = np.clip(np.searchsorted(over, shares[:-1] + 1e-9, side="right") - 1, 0, last)
    after = np.clip(np.searchsorted(over, shares[1:] - 1e-9, side="left") - 1, 0, last)
    step = 1.0 / spoken.sum()
    starts = before + (shares[:-1] - over[before]) / step
    ends = after + np.minimum(1.0, (shares[1:] - over[after]) / step)
    frame_s = VAD_FRAME / SAMPLE_RATE
    return np.minimum(starts * frame_s, length_s), np.minimum(ends * frame_s, length_s)
