"""Languages written without spaces: which they are, how they are scored, joined and recognised."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

Unit = Literal["word", "character"]

UNSPACED = frozenset({"zh", "yue", "wuu", "ja", "th", "lo", "my", "km", "bo", "dz"})
"""ISO codes of languages written without spaces; their errors are counted by characters (CER)."""

# Where languages are mixed, each character of these scripts is a token of its own.
_HAN = "\u2e80-\u2fdf\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA = "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_SOUTH_EAST = {"th": "\u0e00-\u0e7f", "lo": "\u0e80-\u0eff", "my": "\u1000-\u109f"}
_SOUTH_EAST["km"] = "\u1780-\u17ff"
IDEOGRAPHIC = _HAN + _KANA
_SCRIPTS = {
    name: re.compile(f"[{letters}]")
    for name, letters in {"ja": _KANA, "zh": _HAN, **_SOUTH_EAST}.items()
}


def base_language(language: str | None) -> str | None:
    """Return the language of a code without region or script: `zh` for `zh-CN` and `zh_Hant`."""
    return None if language is None else re.split("[-_]", language.lower())[0]


def unit(language: str | None) -> Unit:
    """Return the unit that errors are counted in: characters (CER) or words (WER)."""
    return "character" if base_language(language) in UNSPACED else "word"


def join_texts(texts: Iterable[tuple[str, str | None]]) -> str:
    """Join texts, with a space between two unless both are in languages written without spaces.

    Args:
        texts: (text, ISO code or None if unknown) in order; empty texts are skipped.
    """
    joined, previous_unspaced = "", False
    for text, language in texts:
        if not text:
            continue
        unspaced = base_language(language) in UNSPACED
        separator = "" if not joined or (previous_unspaced and unspaced) else " "
        joined, previous_unspaced = joined + separator + text, unspaced
    return joined


def guess_unspaced(text: str) -> str | None:
    """Return the ISO code of a text that is mostly in a script written without spaces, else None.

    Any kana make it Japanese, however many Chinese characters there are.
    """
    letters = sum(character.isalpha() for character in text)
    counts = {language: len(script.findall(text)) for language, script in _SCRIPTS.items()}
    if counts["ja"] and 2 * (counts["ja"] + counts["zh"]) > letters:
        return "ja"
    likeliest = max(counts, key=counts.__getitem__)
    return likeliest if 2 * counts[likeliest] > letters and counts[likeliest] else None
