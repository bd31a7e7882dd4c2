"""Text normalisation before scoring. One normaliser so far: `bench`.

`bench` is the rule of Voices-in-the-Wild-Bench for English: lower-case, every punctuation
character (Unicode categories P*) becomes a space, split on white space.
"""

from __future__ import annotations

import sys
import unicodedata
from functools import lru_cache


@lru_cache(maxsize=1)
def _punctuation() -> dict[int, str]:
    every = (chr(code) for code in range(sys.maxunicode + 1))
    return {ord(c): " " for c in every if unicodedata.category(c).startswith("P")}


def bench_words(text: str) -> list[str]:
    """Return the words of a text as Voices-in-the-Wild-Bench counts them (English)."""
    return text.lower().translate(_punctuation()).split()
