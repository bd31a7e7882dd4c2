"""Which languages are written without spaces, and what a text without a language is taken for."""

from __future__ import annotations

import re
from typing import Literal

Unit = Literal["word", "character"]

UNSPACED = frozenset({"zh", "yue", "wuu", "ja", "th", "lo", "my", "km", "bo", "dz"})
"""ISO codes of languages whose errors are counted by characters (CER)."""

# A character of these scripts is a token of its own where languages are mixed.
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
    """Return `zh` for `zh-CN`, `zh_Hant` and the like."""
    return None if language is None else re.split("[-_]", language.lower())[0]


def unit(language: str | None) -> Unit:
    """Return what errors are counted in: characters (CER) or words (WER)."""
    return "character" if base_language(language) in UNSPACED else "word"


def guess_unspaced(text: str) -> str | None:
    """Return the language of a text that is mostly in a script without spaces; else None.

    Kana mean Japanese, however many Chinese characters stand beside them.
    """
    letters = sum(character.isalpha() for character in text)
    found = {name: len(script.findall(text)) for name, script in _SCRIPTS.items()}
    if found["ja"] and 2 * (found["ja"] + found["zh"]) > letters:
        return "ja"
    name = max(found, key=lambda one: found[one])
    return name if 2 * found[name] > letters and found[name] else None
