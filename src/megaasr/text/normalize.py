"""Text normalisation for scoring: versioned rules that turn a text into the tokens to compare.

- `bench`: the rules of Voices-in-the-Wild-Bench. By words: lower-case, every punctuation character
  (Unicode categories P*) becomes a space, split on white space. By characters: punctuation and
  white space are removed, case is kept.
- `whisper-en`: Whisper's English normaliser (package whisper-normalizer, MIT): numbers,
  contractions, spelling, fillers.
- `zh`: NFKC, lower-case, numbers spelled out (package cn2an, MIT). Each Chinese character or kana
  is a token, and so is each run of other letters and digits: `打开 WiFi` has three tokens.
- `zh-simplified`: `zh` after converting traditional to simplified characters (OpenCC, Apache-2.0;
  extra `score`).
- `basic`: NFKC, case-folded, punctuation and symbols become spaces, accents are kept; by words, or
  by characters in languages without spaces.
- `default`: `whisper-en` for English, `zh` for Chinese and Cantonese, `basic` for all others.

When the rules of a normaliser change, its version changes; results name normaliser and version.
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
"""Texts whose tokens are cached: a reference is scored many times, and normalising dominates."""


@lru_cache(maxsize=2)
def _to_space(categories: str) -> dict[int, str]:
    every = (chr(code) for code in range(sys.maxunicode + 1))
    return {ord(c): " " for c in every if unicodedata.category(c)[0] in categories}


def bench_words(text: str) -> list[str]:
    """Return the words of a text by the rules of `bench` for languages with spaces."""
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
    return tuple(_MIXED.findall(_spell_out_numbers(folded)))


_DIGIT = re.compile("[0-9]")
_TOO_LONG = re.compile("[0-9]{17}")  # more digits than cn2an spells out


def _spell_out_numbers(text: str) -> str:
    """Replace the digits of a text by Chinese numerals, as they are spoken."""
    if not _DIGIT.search(text) or _TOO_LONG.search(text):
        return text
    import cn2an

    try:
        with warnings.catch_warnings():  # it warns about digits of other scripts and keeps them
            warnings.simplefilter("ignore")
            return str(cn2an.transform(text, "an2cn"))
    except Exception:  # a text that only looks like a date or a fraction is kept unchanged
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
    # Case folding may produce sequences that NFKC composes, so normalise again.
    words = unicodedata.normalize("NFKC", folded).translate(_to_space("PSC")).split()
    if unit(language) == "word":
        return tuple(words)
    # An accent that stood alone may now follow a letter, so normalise once more.
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
        UsageError: there is no normaliser of this name.
    """
    return _find_normalizer(name)[0]


def _find_normalizer(name: str) -> tuple[int, Callable[[str, str | None], Tokens]]:
    if name not in _NORMALIZERS:
        raise UsageError(f"unknown normaliser {name}; choose one of {', '.join(_NORMALIZERS)}")
    return _NORMALIZERS[name]


@lru_cache(maxsize=CACHED_TEXTS)
def tokens(text: str, language: str | None = None, normalizer: str = "bench") -> Tokens:
    """Return the tokens of a text that scoring compares.

    Args:
        text: the text to normalise.
        language: ISO code; None counts as a language with spaces (see `scored_language`).
        normalizer: one of the names listed in this module's docstring.

    Raises:
        UsageError: there is no such normaliser, or its library is not installed.
    """
    return _find_normalizer(normalizer)[1](text, language)


def scored_language(language: str | None, reference: str, normalizer: str) -> str | None:
    """Return the language whose rules apply to a pair of reference and hypothesis.

    An unknown language is guessed from the reference: if most letters are in a script written
    without spaces, it is that script's language. The normaliser `bench` never guesses but counts
    words, as the published scorer does.

    Args:
        language: ISO code; None if unknown.
        reference: the correct transcript.
        normalizer: name of a normaliser.
    """
    if language is not None or normalizer == "bench":
        return language
    return guess_unspaced(reference)
