"""Convert written sentences to sentences that can be spoken, or drop them.

The result has 3 to 30 words of ASCII letters, apostrophes and hyphens, no punctuation other than
, . ? !, an initial capital and a final mark. Sentences with an uncertain reading are dropped.
"""

from __future__ import annotations

import re
import unicodedata

from megaasr.synthesize.open_text.chat import correct_chat
from megaasr.synthesize.open_text.numbers import verbalize
from megaasr.synthesize.open_text.offensive import is_offensive
from megaasr.synthesize.open_text.spelling import Speller
from megaasr.synthesize.open_text.wordlist import WordList

MIN_WORDS, MAX_WORDS = 3, 30
_CHARACTERS = str.maketrans(
    {
        "‘": "'",
        "’": "'",
        "ʼ": "'",
        "`": "'",
        "´": "'",
        "“": '"',
        "”": '"',
        "„": '"',
        "«": '"',
        "»": '"',
        "–": " -- ",
        "—": " -- ",
        "−": "-",
        "‐": "-",
        "‑": "-",
        "\xad": "",
        "…": "...",
        "\xa0": " ",
        "æ": "ae",
        "œ": "oe",
        "\u200b": "",
    }
)
_EXPANSIONS = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"\bMr\.?(?=\s[A-Z])", "Mister"),
        (r"\bMrs\.?(?=\s[A-Z])", "Missus"),
        (r"\bMs\.?(?=\s[A-Z])", "Miss"),
        (r"\bDr\.?(?=\s[A-Z])", "Doctor"),
        (r"\bProf\.(?=\s[A-Z])", "Professor"),
        (r"\bSt\.(?=\s[A-Z])", "Saint"),
        (r"\bCol\.(?=\s[A-Z])", "Colonel"),
        (r"\bCapt\.(?=\s[A-Z])", "Captain"),
        (r"\bGen\.(?=\s[A-Z])", "General"),
        (r"\bSen\.(?=\s[A-Z])", "Senator"),
        (r"\bRev\.(?=\s[A-Z])", "Reverend"),
        (r"\be\.\s?g\.,?", "for example,"),
        (r"\bi\.\s?e\.,?", "that is,"),
        (r",? &?\betc\.?(?=$|[,.?!])", ", and so on"),
        (r"\bvs\.?(?=\s)", "versus"),
        (r"\b[Oo]\.?[Kk]\b(?=[\s,.?!]|$)", "okay"),
        (r"\s&\s", " and "),
        (r"\s\+\s", " plus "),
        (r"\band/or\b", "and or"),
        (r"\b([Hh]e|[Hh]is|[Hh]im)/(she|hers?)\b", r"\1 or \2"),
    )
)
_EXPANDABLE = re.compile(
    r"[&+/]|\b(?:M(?:rs?|s)|Dr|etc|vs|[Oo]\.?[Kk])\b|\b(?:Prof|St|Col|Capt|Gen|Sen|Rev|e|i)\."
)
_UNWANTED = re.compile(r"https?:|www\.|\.com\b|\.org\b|[<>{}\[\]|\\^~=_@#*()]|\w/|/\w|[;:]\S|\d")
_SENTENCE = re.compile(r"[A-Za-z',.?! -]+[.?!]")
# "Q:" and "A:" in riddles, and answers like "a, b".
_LETTER_FIRST = re.compile(r"(?:Q|A|Ans),")
_INNER_STOP = re.compile(r"[A-Za-z]\.(?=[\sA-Za-z,])|[?!](?=.*\w)")


class SentenceCleaner:
    """Cleans the sentences of one source."""

    def __init__(
        self, words: WordList, names: frozenset[str] = frozenset(), *, chat: bool = False
    ) -> None:
        """Create a cleaner.

        Args:
            words: vocabulary; sentences with other words are dropped.
            names: further names in lower case, such as those of a book.
            chat: whether the text was typed carelessly, so that capitals, apostrophes and final
                punctuation are corrected.
        """
        self._speller = Speller(words, names, capitalize_names=chat)
        self._chat = chat

    def clean(self, sentence: str) -> str | None:
        """Return the sentence as it is spoken, or None if it is dropped."""
        if sentence.count(" ") > 2 * MAX_WORDS:
            return None
        text = to_ascii(sentence)
        text = verbalize(_expand(correct_chat(text) if self._chat else text))
        if _UNWANTED.search(text):
            return None
        text = _tidy_marks(text)
        if not _is_one_sentence(text) or is_offensive(text):
            return None
        spelt = self._speller.spell(text.split(" "))
        if spelt is None or _is_title(spelt) or _stutters(spelt):
            return None
        return spelt[0][0].upper() + " ".join(spelt)[1:]


def _is_one_sentence(text: str) -> bool:
    """Return whether a text has the characters, length and end of exactly one sentence."""
    return (
        MIN_WORDS <= text.count(" ") + 1 <= MAX_WORDS
        and _SENTENCE.fullmatch(text) is not None
        and _LETTER_FIRST.match(text) is None
        and _INNER_STOP.search(text) is None
    )


def _is_title(tokens: list[str]) -> bool:
    """Return whether most words after the first are capitalised, as in titles and name lists."""
    following = tokens[1:]
    return 2 * sum(token[0].islower() for token in following) < len(following)


def _stutters(tokens: list[str]) -> bool:
    """Return whether a word occurs three times in a row."""
    words = [token.strip(",.?!").lower() for token in tokens]
    return any(a == b == c for a, b, c in zip(words, words[1:], words[2:], strict=False))


def to_ascii(text: str) -> str:
    """Return a text with plain quotes and dashes, and without accents."""
    if text.isascii():
        return text.replace("`", "'")
    text = text.translate(_CHARACTERS)
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def _expand(text: str) -> str:
    if not _EXPANDABLE.search(text):
        return text
    for pattern, words in _EXPANSIONS:
        text = pattern.sub(words, text)
    return text


def _tidy_marks(text: str) -> str:
    """Replace all punctuation by , . ? ! or nothing, according to how the sentence is spoken."""
    text = text.replace('"', "")
    text = re.sub(r"\s*(?:--+|;|:|\s-\s)\s*", ", ", text)
    text = re.sub(r"\s*(?:\.\s?){2,}$", ".", text)
    text = re.sub(r"\s*(?:\.\s?){2,}", ", ", text)
    text = re.sub(r"[.?!]*\?[.?!]*", "?", text)
    text = re.sub(r"[.!]*![.!]*", "!", text)
    text = re.sub(r"\s+([,.?!])", r"\1", text)
    text = re.sub(r",(?:\s*,)+", ",", text)
    text = re.sub(r",\s*([.?!])", r"\1", text)
    text = re.sub(r"(?<=\s)'(?=[A-Za-z])(?!tis\b|twas\b|em\b)|^'(?=[A-Z])", "", text)
    text = re.sub(r"(?<=[a-rt-z.,?!])'(?=[\s,.?!]|$)", "", text)
    return " ".join(text.split()).strip(" ,-")
