"""The English vocabulary: SCOWL's lists, which expose misspellings and foreign words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_SIZE = re.compile(r"\.(\d+)$")
_SUFFIXES = ("'s", "'ll", "'d", "'ve", "'re", "s'")
# Abbreviations that are in the lists but are not spoken, and other written forms.
_UNSPOKEN_WORDS = "etc eg ie vs lbs ft hr hrs min mins sec secs re ha th nd st rd"
_UNSPOKEN = frozenset(_UNSPOKEN_WORDS.split())
_EXTRA_WORDS = (
    "okay oh ah hey yeah yep nope hi hello bye wow oops email website online internet app apps "
    "smartphone laptop podcast selfie voicemail"
)
_SPOKEN_EXTRAS = frozenset(_EXTRA_WORDS.split())


@dataclass(frozen=True, slots=True)
class WordList:
    """A vocabulary.

    Attributes:
        common: words that may be written in lower case.
        names: words that must be capitalised (names, nations, months), in lower case.
    """

    common: frozenset[str]
    names: frozenset[str]

    def has_common(self, word: str) -> bool:
        """Return whether a lower-case word is common, with or without an ending like 's."""
        return _contains(word, self.common)

    def has_name(self, word: str) -> bool:
        """Return whether a word, in lower case, is a name, with or without an ending like 's."""
        return _contains(word, self.names)


def _contains(word: str, words: frozenset[str]) -> bool:
    if word in words:
        return True
    return any(word.endswith(suffix) and word[: -len(suffix)] in words for suffix in _SUFFIXES)


def build_word_list(lists: Mapping[str, bytes], *, max_size: int) -> WordList:
    """Return the vocabulary of SCOWL's lists.

    Args:
        lists: contents by file name (`english-words.35`), in Latin-1 with one word per line.
        max_size: maximum size of the lists to use, 10 to 95; larger lists have rarer words.
    """
    common: set[str] = set()
    names: set[str] = set()
    for name, content in lists.items():
        size = _SIZE.search(name)
        if size is None or int(size[1]) > max_size:
            continue
        words = [word for word in content.decode("latin-1").split() if word.isascii()]
        if "-words." in name or "-contractions." in name:
            common.update(word for word in words if word == word.lower())
            names.update(word.lower() for word in words if word != word.lower())
        elif "-upper." in name or "-proper-names." in name:
            names.update(word.lower() for word in words)
    common -= _UNSPOKEN | {word for word in common if len(word.replace("'", "")) < 2}
    common |= _SPOKEN_EXTRAS | {"a", "i", "o'clock"}
    return WordList(frozenset(common), frozenset(names - common))


def frequent_names(texts: Iterable[str], words: WordList, *, min_count: int) -> frozenset[str]:
    """Return the names that are frequent in a book but not in the vocabulary, in lower case.

    Only capitalised words inside a sentence count as names.

    Args:
        texts: sentences of the book.
        words: vocabulary with the names that are already known.
        min_count: minimum number of occurrences; rarer names may be errors.
    """
    counts: dict[str, int] = {}
    for text in texts:
        for word in re.findall(r"(?<=[a-z,] )[A-Z][a-z]{2,}\b", text):
            key = word.lower()
            if not words.has_common(key) and not words.has_name(key):
                counts[key] = counts.get(key, 0) + 1
    return frozenset(key for key, count in counts.items() if count >= min_count)
