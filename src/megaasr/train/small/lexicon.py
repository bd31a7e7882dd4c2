"""Pronunciations of words: the phonemes that the projector of `small` learns to hear.

There are forty phonemes and two thousand tokens, so far less speech is needed to hear phonemes, and
how phonemes are spelled can be learnt from text alone. espeak-ng pronounces each word by itself;
it runs as a program of the recipe.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.errors import TrainingError
from megaasr.synthesize.ipa import pronounce
from megaasr.text.bare_words import bare_word

# Vowels of unstressed syllables and consonants that General American does not distinguish.
_MERGED = str.maketrans(
    {"ɐ": "ə", "ᵻ": "ɪ", "ɾ": "t", "ɜ": "ɚ", "x": "k", "r": "ɹ", "o": "ɔ", "ɡ": "g", "y": "j"}
)
PHONEMES = "abdefghijklmnpstuvwzæðŋɑɔəɚɛɪɹʃʊʌʒθ"
"""The phonemes, one IPA character each; diphthongs and affricates are two of them."""
WEAK_FORMS = {"a": "ə", "the": "ðə", "to": "tə", "of": "əv", "and": "ənd"}
"""Words that are pronounced differently in a sentence."""
_LINES_AT_ONCE = 4000


class Lexicon:
    """The phonemes of words.

    Args:
        pronunciations: string of phonemes for each word, lower case.
    """

    def __init__(self, pronunciations: Mapping[str, str]) -> None:
        self._pronunciations = pronunciations

    @classmethod
    def load(cls, path: Path) -> Lexicon:
        """Read a lexicon that `write_lexicon` wrote.

        Raises:
            TrainingError: the file does not exist.
        """
        if not path.is_file():
            raise TrainingError(f"{path} does not exist; make it with: mega-asr train lexicon")
        return cls(json.loads(path.read_text(encoding="utf-8")))

    def pronounce(self, text: str) -> list[str] | None:
        """Return the phonemes of each word of a text; None if a word is not in the lexicon."""
        phonemes = [self._pronunciations.get(word) for word in spoken_words(text)]
        return None if None in phonemes else [p for p in phonemes if p]


def spoken_words(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation around them."""
    return [bare for word in text.split() if (bare := bare_word(word))]


def words_of_characters(text: str) -> list[int | None]:
    """Return for each character of a text the index of its word in `spoken_words`, or None."""
    words: list[int | None] = [None] * len(text)
    for number, match in enumerate(m for m in re.finditer(r"\S+", text) if re.search(r"\w", m[0])):
        words[match.start() : match.end()] = [number] * len(match[0])
    return words


def write_lexicon(texts: Iterable[str], path: Path) -> int:
    """Write the lexicon of all words of some texts as a JSON object, and return its size.

    Args:
        texts: sentences.
        path: file to write.

    Raises:
        SynthesisError: espeak-ng is missing or failed.
    """
    words = sorted({word for text in texts for word in spoken_words(text)})
    pronunciations: dict[str, str] = {}
    for first in range(0, len(words), _LINES_AT_ONCE):
        part = words[first : first + _LINES_AT_ONCE]
        phonemes = map(simplify, pronounce(part, "en-us"))
        pronunciations |= dict(zip(part, phonemes, strict=True))
    pronunciations |= {w: p for w, p in WEAK_FORMS.items() if w in pronunciations}
    kept = {word: spelled for word, spelled in pronunciations.items() if spelled}
    write_atomically(path, strict_json.dumps(kept))
    return len(kept)


def simplify(ipa: str) -> str:
    """Return the phonemes of `PHONEMES` in IPA, without stress, length and finer distinctions."""
    return "".join(symbol for symbol in ipa.translate(_MERGED) if symbol in PHONEMES)
