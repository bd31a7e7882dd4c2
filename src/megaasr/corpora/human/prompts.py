"""Which of Asterisk's prompts are speech whose words are known.

The list of texts (`core-sounds-en.txt`) has a line `NAME: TEXT` for each recording. Some texts
describe a tone, name keys by digits (read "one" or "press one"?), or are single words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from megaasr.text.exclusion import sentence_words

MIN_WORDS = 4

_LINE = re.compile(r"(?P<name>[^\s:;]+):\s+(?P<text>.*\S)\s*")
_NOT_PLAIN = re.compile(r"[^A-Za-z' ,.?!:;\"-]")
_INNER_DOT = re.compile(r"\.[A-Za-z]")
_LETTERS = re.compile(r"\b(?:[A-Z] ){2,}")
_ELLIPSIS = re.compile(r"\s*\.{3}\s*")
_SPACES = re.compile(r"\s+")

# Misspelt in the list, not in the recording.
_SPELLING = {
    "represenatives": "representatives",
    "Un-indentified": "Unidentified",
    "witheld": "withheld",
}


def parse_prompts(listing: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of each line of the list, in order; comments and blank lines are not."""
    for line in listing.splitlines():
        match = _LINE.fullmatch(line)
        if match:
            yield match["name"], match["text"]


def spoken_text(text: str) -> str | None:
    """Return a prompt's words as they are spoken, or None if the text does not tell them.

    Usable are texts of four words and more that hold letters and plain punctuation only: no digits,
    symbols, brackets, addresses, or rows of single letters. Leading and trailing ellipses go;
    misspellings of the list are mended.
    """
    if _NOT_PLAIN.search(text) or _LETTERS.search(text):
        return None
    text = _SPACES.sub(" ", _ELLIPSIS.sub(" ", text)).strip()
    if _INNER_DOT.search(text):
        return None
    for misspelt, word in _SPELLING.items():
        text = text.replace(misspelt, word)
    return text if len(sentence_words(text)) >= MIN_WORDS else None
