"""Names of languages, and how languages written without spaces are scored, joined and recognised.

A language has many names: `zh`, `zho`, `chi`, `cmn`, `zh-Hans-CN`, `zh_CN.UTF-8`, `Chinese`,
`Mandarin` and `中文` mean the same. `canonical_language` turns each into the code that this project
uses; everything that reads a language goes through it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Literal

from megaasr.text.graphemes import split_clusters
from megaasr.text.language_table import TABLE

Unit = Literal["word", "character"]

UNSPACED = frozenset(
    {"zh", "yue", "wuu", "gan", "hsn", "cjy", "lzh", "ja", "th", "lo", "my", "km", "bo", "dz"}
)
"""Codes of languages written without spaces; their errors are counted by characters (CER)."""

_EITHER_WAY = frozenset({"nan", "hak"})
"""Codes of languages written without spaces in one script and with spaces in another."""

_CHINESE = frozenset({"yue", "nan", "hak", "wuu", "gan", "hsn", "cjy", "lzh"})

UNKNOWN_NAMES = frozenset(
    {"", "auto", "detect", "unknown", "undetermined", "none", "null", "und", "mis", "mul", "zxx"}
)
"""Names that mean that the language is not known."""

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


@lru_cache(maxsize=4096)
def canonical_language(language: str | None) -> str | None:
    """Return the code of a language: that of ISO 639-1, or of ISO 639-3 if it has no other.

    Args:
        language: a code of ISO 639-1, 639-2 or 639-3, a tag of BCP 47 or a locale (`zh-Hans-CN`,
            `en_US.UTF-8`), or a name in English or in the language itself, in upper or lower case.
            `auto` and the other `UNKNOWN_NAMES` mean that the language is not known.

    Returns:
        None if the language is not known. A name that is not in the table is returned in lower
        case, a tag without its script and region: nothing is known about the language, but equal
        names stay equal.
    """
    name = fold_name(language or "")
    if name in UNKNOWN_NAMES:
        return None
    codes, names = _codes(), _names()
    if name in names:
        return names[name]
    # A locale may have an encoding or a modifier: `de_DE.UTF-8@euro`.
    tag = re.split("[.@]", name.replace("_", "-"))[0]
    primary, *subtags = tag.split("-")
    if re.fullmatch(r"[a-z]{2,3}", primary) and all(
        re.fullmatch(r"[a-z0-9]{1,8}", subtag) for subtag in subtags
    ):
        code = codes.get(primary, primary)
        if code == "zh":  # a further subtag may name one of its languages: `zh-yue`, `zh-min-nan`
            code = next((codes[s] for s in reversed(subtags) if s in _CHINESE), code)
        return None if code in UNKNOWN_NAMES else code
    before_remark, *remarks = re.split(r"[(\[,;/–—]| - ", name)  # `English (United States)`
    code = names.get(before_remark.strip(), name)
    others = {names.get(remark.strip(), code) for remark in remarks}
    return code if others <= {code} else name  # `en, de` are two languages


def is_named(language: str) -> bool:
    """Return whether a canonical code is in the table, so that something is known about it."""
    return language in _english_names()


def english_name(code: str) -> str:
    """Return the English name of a canonical code, or the code itself if it is not in the table."""
    return _english_names().get(code, code)


def fold_name(name: str) -> str:
    """Return a name of a language for look-ups: lower case, without spaces around it, in NFC."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(re.sub("[’‘ʻʼ]", "'", unicodedata.normalize("NFC", folded)).split())


@cache
def _table() -> tuple[tuple[list[str], list[str]], ...]:
    """Return the codes (ours first) and the names (English first) of each language."""
    rows = [line.partition(":") for line in TABLE.strip().splitlines()]
    return tuple(
        (codes.split(), [name.strip() for name in names.split(",")]) for codes, _, names in rows
    )


@cache
def _codes() -> dict[str, str]:
    return {code: codes[0] for codes, _ in _table() for code in codes}


@cache
def _names() -> dict[str, str]:
    """Return the canonical code of every code and name, folded."""
    by_name: dict[str, str] = {}
    for codes, names in _table():
        for name in names:
            # With the marks of the letters and without: people write Francais, too.
            plain = "".join(
                c for c in unicodedata.normalize("NFD", name) if unicodedata.category(c) != "Mn"
            )
            for spelling in (name, plain) if plain.isascii() else (name,):
                by_name.setdefault(fold_name(spelling), codes[0])
    return by_name | _codes()


@cache
def _english_names() -> dict[str, str]:
    return {codes[0]: names[0] for codes, names in _table()}


def unit(language: str | None) -> Unit:
    """Return the unit that errors are counted in: characters (CER) or words (WER)."""
    return "character" if canonical_language(language) in UNSPACED else "word"


def is_spacing_known(language: str | None) -> bool:
    """Return whether a language tells by itself if its texts have spaces between words."""
    code = canonical_language(language)
    return code is not None and code not in _EITHER_WAY and is_named(code)


def join_texts(texts: Iterable[tuple[str, str | None]]) -> str:
    """Join texts, with a space between two unless both are in languages written without spaces.

    Args:
        texts: (text, language or None if unknown) in order; empty texts are skipped.
    """
    joined, previous_unspaced = "", False
    for text, language in texts:
        if not text:
            continue
        unspaced = canonical_language(language) in UNSPACED
        separator = "" if not joined or (previous_unspaced and unspaced) else " "
        joined, previous_unspaced = joined + separator + text, unspaced
    return joined


def split_words(text: str, language: str | None) -> list[str]:
    """Return the words of a text, with adjacent punctuation.

    Args:
        text: the text.
        language: ISO code; in languages written without spaces each character is a word.
    """
    words = text.split()
    if unit(language) == "character":
        return [cluster for word in words for cluster in split_clusters(word)]
    return words


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
