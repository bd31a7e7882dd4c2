"""Text for the system turn of training examples, like what users pass as `--context`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_EARLIER_SENTENCE_SHARE = 0.3
_MAX_HOT_WORDS = 5


def draw_context(
    text: str,
    rng: np.random.Generator,
    *,
    share: float,
    text_count: int,
    text_at: Callable[[int], str],
) -> str:
    """Return text for the system turn of an example; empty for most examples.

    The text is a list of hot words, only some of which are spoken in the example, or an unrelated
    earlier sentence.

    Args:
        text: transcript of the example.
        rng: source of every random choice.
        share: share of the examples that get such a text, 0..1.
        text_count: number of transcripts that an unrelated one is drawn from.
        text_at: returns one of these transcripts by its index.
    """
    if rng.random() >= share:
        return ""
    unrelated = text_at(int(rng.integers(text_count)))
    if rng.random() < _EARLIER_SENTENCE_SHARE:
        return unrelated
    words = [w.strip(".,?!") for w in f"{text} {unrelated}".split() if len(w) > 4]
    hot_words = rng.permutation(len(words))[: int(rng.integers(1, 1 + _MAX_HOT_WORDS))]
    return ", ".join(words[int(index)] for index in hot_words)
