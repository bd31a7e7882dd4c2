"""Text normalisation before scoring: versioned rules, from a text to the tokens that are compared.

- `bench`: Voices-in-the-Wild-Bench. By words: lower-case, every punctuation character (Unicode
  categories P*) becomes a space, split on white space. By characters: punctuation and white space
  removed; case stays.
- `whisper-en`: Whisper's English normaliser (package whisper-normalizer, MIT): numbers,
  contractions, spelling, fillers.
- `zh`: NFKC, lower-case, numbers read out (package cn2an, MIT). Chinese characters and kana one by
  one; every run of other letters and digits is one token, so that `打开 WiFi` has three.
- `zh-simplified`: `zh` after traditional characters became simplified ones (OpenCC, Apache-2.0;
  extra `score`).
- `basic`: NFKC, case folded, punctuation and symbols become spaces, accents stay; by words, or by
  characters in languages without spaces.
- `default`: `whisper-en` for English, `zh` for Chinese and Cantonese, `basic` for the rest.

A normaliser whose rules change gets another version; results name both.
"""

from __future__ import annotations

import re
import sys
import unicodedata
import warnings
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

from megaasr.errors import UsageError
from megaasr.text.languages import IDEOGRAPHIC, base_language, guess_unspaced, unit

Tokens = tuple[str, ...]

CACHED_TEXTS = 65_536
"""Texts whose tokens are kept: a reference is scored many times, and normalising dominates."""


@lru_cache(maxsize=2)
def _to_space(categories: str) -> dict[int, str]:
    every = (chr(code) for code in range(sys.maxunicode + 1))
    return {ord(c): " " for c in every if unicodedata.category(c)[0] in categories}


def bench_words(text: str) -> list[str]:
    """Return the words of a text as Voices-in-the-Wild-Bench counts them (English)."""
    return text.lower().translate(_to_space("P")).split()


def _bench(text: str, language: str | None) -> Tokens:
    if unit(language) == "word":
        return tuple(bench_words(text))
    return tuple("".join(text.translate(_to_space("P")).split()))


@cache
def _whisper() -> Callable[[str], str]:
    from whisper_normalizer.english import EnglishTextNormalizer

    normalizer: Callable[[str], str] = EnglishTextNormalizer()
    return normalizer


def _whisper_en(text: str, language: str | None) -> Tokens:
    return tuple(_whisper()(text).split())


_MIXED = re.compile(rf"[{IDEOGRAPHIC}]|[^\W_{IDEOGRAPHIC}]+")


def _zh(text: str, language: str | None) -> Tokens:
    folded = unicodedata.normalize("NFKC", text).lower()
    return tuple(_MIXED.findall(_read_out(folded)))


_DIGIT = re.compile("[0-9]")
_TOO_LONG = re.compile("[0-9]{17}")  # more digits than cn2an reads out


def _read_out(text: str) -> str:
    """Write numbers as they are said in Chinese."""
    if not _DIGIT.search(text) or _TOO_LONG.search(text):
        return text
    import cn2an

    try:
        with warnings.catch_warnings():  # it warns of digits of other scripts, and leaves them
            warnings.simplefilter("ignore")
            return str(cn2an.transform(text, "an2cn"))
    except Exception:  # what only looks like a date or a fraction is left as it is
        return text


@cache
def _simplifier() -> Any:
    try:
        from opencc import OpenCC
    except ImportError as error:
        raise UsageError(
            "the normaliser zh-simplified needs OpenCC: pip install 'megaasr[score]'"
        ) from error
    return OpenCC("t2s")


def _zh_simplified(text: str, language: str | None) -> Tokens:
    return _zh(_simplifier().convert(text), language)


def _basic(text: str, language: str | None) -> Tokens:
    folded = unicodedata.normalize("NFKC", text).casefold()
    # Folding may leave what NFKC composes.
    words = unicodedata.normalize("NFKC", folded).translate(_to_space("PSC")).split()
    if unit(language) == "word":
        return tuple(words)
    # An accent that stood alone may now stand behind a letter.
    return tuple(unicodedata.normalize("NFKC", "".join(words)))


def _default(text: str, language: str | None) -> Tokens:
    base = base_language(language)
    if base == "en":
        return _whisper_en(text, language)
    return _zh(text, language) if base in {"zh", "yue"} else _basic(text, language)


_NORMALIZERS: dict[str, tuple[int, Callable[[str, str | None], Tokens]]] = {
    "bench": (1, _bench),
    "default": (1, _default),
    "whisper-en": (1, _whisper_en),
    "zh": (1, _zh),
    "zh-simplified": (1, _zh_simplified),
    "basic": (1, _basic),
}


def normalizer_names() -> list[str]:
    """Return the names of all normalisers."""
    return list(_NORMALIZERS)


def normalizer_version(name: str) -> int:
    """Return the version of a normaliser's rules.

    Raises:
        UsageError: there is none of this name.
    """
    return _find(name)[0]


def _find(name: str) -> tuple[int, Callable[[str, str | None], Tokens]]:
    if name not in _NORMALIZERS:
        raise UsageError(f"no normaliser {name}; there are {', '.join(_NORMALIZERS)}")
    return _NORMALIZERS[name]


@lru_cache(maxsize=CACHED_TEXTS)
def tokens(text: str, language: str | None = None, normalizer: str = "bench") -> Tokens:
    """Return what a text is compared by.

    Args:
        text: any.
        language: ISO code; None is a language with spaces (see `scored_language`).
        normalizer: see the list of this module.

    Raises:
        UsageError: there is no such normaliser, or its library is not installed.
    """
    return _find(normalizer)[1](text, language)


def scored_language(language: str | None, reference: str, normalizer: str) -> str | None:
    """Return the language by whose rules a pair of texts is compared.

    An unknown language is read off the reference: most letters in a script without spaces mean
    that language. `bench` counts words then, as the published scorer does.
    """
    if language is not None or normalizer == "bench":
        return language
    return guess_unspaced(reference)
