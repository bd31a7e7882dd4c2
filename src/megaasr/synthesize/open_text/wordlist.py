"""Which words are English: SCOWL's lists tell misspellings and foreign words from vocabulary."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_SIZE = re.compile(r"\.(\d+)$")
_SUFFIXES = ("'s", "'ll", "'d", "'ve", "'re", "s'")
# Written forms that the lists have and that nobody speaks, or that are marks of chat.
_UNSPOKEN_WORDS = "etc eg ie vs lbs ft hr hrs min mins sec secs re ha th nd st rd"
_UNSPOKEN = frozenset(_UNSPOKEN_WORDS.split())
_EXTRA_WORDS = (
    "okay oh ah hey yeah yep nope hi hello bye wow oops email website online internet app apps "
    "smartphone laptop podcast selfie voicemail"
)
_SPOKEN_EXTRAS = frozenset(_EXTRA_WORDS.split())


@dataclass(frozen=True, slots=True)
class WordList:
    """Words of a language.

    Attributes:
        common: words that may be written in lower case.
        names: lower-cased words that are only right with a capital (names, nations, months).
    """

    common: frozenset[str]
    names: frozenset[str]

    def has_common(self, word: str) -> bool:
        """Whether a lower-case word, or the word that it is built on by an apostrophe, is known."""
        return _known(word, self.common)

    def has_name(self, word: str) -> bool:
        """Whether a lower-cased word is known as a name."""
        return _known(word, self.names)


def _known(word: str, words: frozenset[str]) -> bool:
    if word in words:
        return True
    return any(word.endswith(suffix) and word[: -len(suffix)] in words for suffix in _SUFFIXES)


def build_word_list(lists: Mapping[str, bytes], *, max_size: int) -> WordList:
    """Read SCOWL's lists.

    Args:
        lists: file name (`english-words.35`) to content, Latin-1, a word a line.
        max_size: lists of rarer words than this size (10 to 95) are left out.
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
    """Return the lower-cased names that a book uses often, though no list has them.

    Only words with a capital in the middle of a sentence count.

    Args:
        texts: sentences.
        words: what is known already.
        min_count: a name that is rarer may be a slip of the pen.
    """
    counts: dict[str, int] = {}
    for text in texts:
        for word in re.findall(r"(?<=[a-z,] )[A-Z][a-z]{2,}\b", text):
            key = word.lower()
            if not words.has_common(key) and not words.has_name(key):
                counts[key] = counts.get(key, 0) + 1
    return frozenset(key for key, count in counts.items() if count >= min_count)
