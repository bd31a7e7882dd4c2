"""Words without the punctuation around them."""

from __future__ import annotations

import re


def bare_word(text: str) -> str:
    """Return a word in lower case, without punctuation around it."""
    return re.sub(r"^\W+|\W+$", "", text.lower())
