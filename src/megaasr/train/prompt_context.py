"""Text for the system turn of training examples: what users give as `--context`."""

from __future__ import annotations

import numpy as np

_EARLIER_SENTENCE_SHARE = 0.3
_MAX_HOT_WORDS = 5


def draw_context(text: str, other: str, rng: np.random.Generator) -> str:
    """Return hot words, some of them spoken and some not, or an unrelated earlier sentence.

    Args:
        text: the example's transcript.
        other: another example's.
        rng: source of every choice.
    """
    if rng.random() < _EARLIER_SENTENCE_SHARE:
        return other
    words = [w.strip(".,?!") for w in f"{text} {other}".split() if len(w) > 4]
    chosen = rng.permutation(len(words))[: int(rng.integers(1, 1 + _MAX_HOT_WORDS))]
    return ", ".join(words[int(i)] for i in chosen)
