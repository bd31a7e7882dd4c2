"""Check the words of a sentence against the vocabulary, and capitalise names."""

from __future__ import annotations

import re

from megaasr.synthesize.open_text.wordlist import WordList

_MAX_LETTERS = 18  # longer words are chemical compounds or typing errors
_MAX_PARTS = 4  # of a hyphenated word
_TOKEN = re.compile(r"([A-Za-z][A-Za-z'-]*)([,.?!]?)")
_PRONOUN = frozenset(("i", "i'm", "i've", "i'd", "i'll"))


class Speller:
    """Spells words, and caches the spellings."""

    def __init__(self, words: WordList, names: frozenset[str], *, capitalize_names: bool) -> None:
        """Create a speller.

        Args:
            words: vocabulary of common words and names.
            names: further names in lower case.
            capitalize_names: whether names in lower case are capitalised rather than refused.
        """
        self._words = words
        self._names = names
        self._capitalize_names = capitalize_names
        self._spellings: dict[str, str | None] = {}

    def spell(self, tokens: list[str]) -> list[str] | None:
        """Return tokens in correct spelling, or None if one is not in the vocabulary.

        Args:
            tokens: words, each with an optional punctuation mark.
        """
        spelt = []
        for token in tokens:
            if token not in self._spellings:
                self._spellings[token] = self._spell_token(token)
            result = self._spellings[token]
            if result is None:
                return None
            spelt.append(result)
        return spelt

    def _spell_token(self, token: str) -> str | None:
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        word, mark = match.groups()
        if word.lower() in _PRONOUN:
            return "I" + word[1:].lower() + mark
        parts = word.split("-")
        if len(word) > _MAX_LETTERS or len(parts) > _MAX_PARTS:
            return None
        spellings = [self._spell_part(part) for part in parts]
        accepted = [spelling for spelling in spellings if spelling is not None]
        return "-".join(accepted) + mark if len(accepted) == len(parts) else None

    def _spell_part(self, part: str) -> str | None:
        key = part.lower()
        common = self._words.has_common(key)
        name = self._words.has_name(key) or key.removesuffix("'s") in self._names
        if part == key and not common:
            return part.capitalize() if name and self._capitalize_names else None
        if part not in (key, key.capitalize()) and not part.startswith(("Mc", "Mac", "O'")):
            return None  # all capitals or camel case
        return part if common or name else None
