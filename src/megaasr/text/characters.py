"""Characters that look or sound alike made equal, before texts are compared.

What is made equal:

- apostrophes: the typewriter's, the typographic ones, modifier letters, full-width and accents that
  stand alone (`don't`, `don’t`, `donʼt`, `don＇t`);
- composed and decomposed letters, compatibility forms, half and full width (NFKC);
- the dotted capital I and a small i with a separate dot; in languages with a dotless i, I is the
  capital of ı, and İ that of i.

What is removed, because it cannot be heard or seen: soft hyphens, joiners and non-joiners, word
joiners, marks of direction, byte order marks, variation selectors. A zero-width space separates
words and becomes a space.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache

APOSTROPHES = "'`´‘’‛′ʹʻʼʽ՚ߴ＇ꞌꞋ"
"""Characters that are read as an apostrophe."""

_SPACES = "\u200b"
_MARKS_WITHOUT_SOUND = "\u034f\u180b\u180c\u180d\u180e\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"
# Format characters that are seen: number and verse signs of Arabic, Syriac and Kaithi.
_SEEN = "\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
_DOT_ABOVE = re.compile("(?<=[ij])\u0307")
_TURKIC = frozenset({"tr", "az", "crh"})


@cache
def _replacements() -> dict[int, str]:
    removed = re.compile(f"[{_MARKS_WITHOUT_SOUND}]")
    visible = re.compile(f"[{_SEEN}]")
    table = {
        code: ""
        for code in range(sys.maxunicode + 1)
        if (unicodedata.category(chr(code)) == "Cf" and not visible.match(chr(code)))
        or removed.match(chr(code))
    }
    return table | dict.fromkeys(map(ord, _SPACES), " ") | dict.fromkeys(map(ord, APOSTROPHES), "'")


def unify(text: str) -> str:
    """Return a text with equal characters for what looks or sounds alike; case is kept."""
    if text.isascii():
        return text.replace("`", "'")
    # Replaced before and after: an accent that stands alone becomes a space and a combining mark,
    # and full-width forms become characters to replace.
    composed = unicodedata.normalize("NFKC", text.translate(_replacements()))
    composed = unicodedata.normalize("NFKC", composed.translate(_replacements()))
    return fold_dots(composed)


def lower_turkic(text: str, language: str | None) -> str:
    """Return a text whose I and İ are lower case by the rules of the language.

    Args:
        text: text in NFKC.
        language: canonical code; None if unknown.
    """
    if language in _TURKIC:
        text = text.replace("I", "ı")
    return text.replace("İ", "i")


def fold_dots(text: str) -> str:
    """Return a text without the separate dot above i and j, which these letters have anyway."""
    if "\u0307" not in text:
        return text
    return unicodedata.normalize("NFC", _DOT_ABOVE.sub("", text))
