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
- `default`: `whisper-en` for English, `zh` for Chinese and Cantonese, `basic` for all others, and
  for texts whose language is not known.

When the rules of a normaliser change, its version changes; results name normaliser and version.
`NAME` is the latest version, `NAME@1` an earlier one. Version 2 of each normaliser first makes
equal what looks or sounds alike (`megaasr.text.characters`): apostrophes, letters with combined and
separate accents, full-width forms, the dotted and dotless i; joiners, soft hyphens and other
invisible characters are removed. Version 1 does not.
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
from megaasr.text.characters import fold_dots, lower_turkic, unify
from megaasr.text.languages import (
    IDEOGRAPHIC,
    canonical_language,
    guess_unspaced,
    is_spacing_known,
    unit,
)

Tokens = tuple[str, ...]
Rules = Callable[[str, str | None], Tokens]
"""Returns the tokens of a text in a language."""

CACHED_TEXTS = 65_536
"""Texts whose tokens are cached: a reference is scored many times, and normalising dominates."""


@lru_cache(maxsize=2)
def _to_space(categories: str) -> dict[int, str]:
    every = (chr(code) for code in range(sys.maxunicode + 1))
    return {ord(c): " " for c in every if unicodedata.category(c)[0] in categories}


def bench_words(text: str) -> list[str]:
    """Return the words of a text by the rules of `bench@1` for languages with spaces."""
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


def _by_language(english: Rules, chinese: Rules, other: Rules) -> Rules:
    """Return rules that depend on the language of the text."""

    def tokens_by_language(text: str, language: str | None) -> Tokens:
        code = canonical_language(language)
        rules = english if code == "en" else chinese if code in {"zh", "yue"} else other
        return rules(text, language)

    return tokens_by_language


def _unified(rules: Rules) -> Rules:
    """Return version 2 of rules: the same rules for texts whose characters are made alike."""

    def unified_tokens(text: str, language: str | None) -> Tokens:
        cased = lower_turkic(unify(text), canonical_language(language))
        # Lower-casing may produce characters that have to be made alike, too.
        return tuple(fold_dots(token) for token in rules(cased, language))

    return unified_tokens


def _bench_2(text: str, language: str | None) -> Tokens:
    if unit(language) == "word":
        # Composed again, since lower-casing may have separated letters and their marks.
        lowered = unicodedata.normalize("NFKC", fold_dots(text.lower()))
        return tuple(lowered.translate(_to_space("P")).split())
    joined = "".join(text.translate(_to_space("P")).split())
    return tuple(unicodedata.normalize("NFKC", joined))


_WHISPER_EN_2, _ZH_2, _BASIC_2 = _unified(_whisper_en), _unified(_zh), _unified(_basic)

_NORMALIZERS: dict[str, tuple[Rules, ...]] = {
    "bench": (_bench, _unified(_bench_2)),
    "default": (
        _by_language(_whisper_en, _zh, _basic),
        _by_language(_WHISPER_EN_2, _ZH_2, _BASIC_2),
    ),
    "whisper-en": (_whisper_en, _WHISPER_EN_2),
    "zh": (_zh, _ZH_2),
    "zh-simplified": (_zh_simplified, _unified(_zh_simplified)),
    "basic": (_basic, _BASIC_2),
}
"""The rules of each version, version 1 first."""


def normalizer_names() -> list[str]:
    """Return the names of all normalisers, without versions."""
    return list(_NORMALIZERS)


def normalizer_version(name: str) -> int:
    """Return the version of a normaliser's rules: the one that its name states, or the latest.

    Args:
        name: name of a normaliser, such as `bench` or `bench@1`.

    Raises:
        UsageError: there is no such normaliser, or no such version of it.
    """
    return _parse_normalizer(name)[1]


def versioned(name: str, version: int | None = None) -> str:
    """Return the name of a normaliser with a version, such as `bench@2`.

    Args:
        name: name of a normaliser, with a version or without.
        version: the version; None for the one that the name states, or else the latest.

    Raises:
        UsageError: there is no such normaliser, or no such version of it.
    """
    base, stated = _parse_normalizer(name)
    full_name = f"{base}@{stated if version is None else version}"
    _parse_normalizer(full_name)
    return full_name


@cache
def _parse_normalizer(name: str) -> tuple[str, int]:
    base, at_sign, version = name.partition("@")
    versions = _NORMALIZERS.get(base)
    if versions is None:
        raise UsageError(f"unknown normaliser {name}; choose one of {', '.join(_NORMALIZERS)}")
    if not at_sign:
        return base, len(versions)
    if not version.isdecimal() or not 1 <= int(version) <= len(versions):
        available = ", ".join(f"{base}@{number}" for number in range(1, len(versions) + 1))
        raise UsageError(f"unknown version of the normaliser {name}; choose one of {available}")
    return base, int(version)


@lru_cache(maxsize=CACHED_TEXTS)
def tokens(text: str, language: str | None = None, normalizer: str = "bench") -> Tokens:
    """Return the tokens of a text that scoring compares.

    Args:
        text: the text to normalise.
        language: any name of the language (`languages.canonical_language`); None counts as a
            language with spaces (see `scored_language`).
        normalizer: one of the names listed in this module's docstring, with a version (`bench@1`)
            or without.

    Raises:
        UsageError: there is no such normaliser, or its library is not installed.
    """
    name, version = _parse_normalizer(normalizer)
    return _NORMALIZERS[name][version - 1](text, language)


def scored_language(language: str | None, reference: str, normalizer: str) -> str | None:
    """Return the language whose rules apply to a pair of reference and hypothesis.

    An unknown language is guessed from the reference: if most letters are in a script written
    without spaces, it is that script's language. The normaliser `bench` never guesses a language
    that nobody names but counts words, as the published scorer does.

    Args:
        language: any name of the language; None if unknown.
        reference: the correct transcript.
        normalizer: name of a normaliser.

    Returns:
        The canonical code of the language; None if it is unknown.
    """
    code = canonical_language(language)
    if is_spacing_known(code) or (code is None and _parse_normalizer(normalizer)[0] == "bench"):
        return code
    return guess_unspaced(reference) or code
