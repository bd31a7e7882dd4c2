"""Select those of Asterisk's prompts that are speech with known words.

The list of texts (`core-sounds-en.txt`) has a line `NAME: TEXT` for each recording. Some texts
describe a tone, contain digits (read as "one" or "press one"?), or are single words.
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

# Misspelt in the list, but not in the recording.
_SPELLING = {
    "represenatives": "representatives",
    "Un-indentified": "Unidentified",
    "witheld": "withheld",
}


def parse_prompts(listing: str) -> Iterator[tuple[str, str]]:
    """Yield the name and text of each prompt in the list, in order."""
    for line in listing.splitlines():
        match = _LINE.fullmatch(line)
        if match:
            yield match["name"], match["text"]


def spoken_text(text: str) -> str | None:
    """Return the words of a prompt as they are spoken, or None if they are not certain.

    A text must have at least four words and consist of letters and plain punctuation, without
    digits, symbols, brackets, addresses, or sequences of single letters. Ellipses are removed and
    misspellings of the list corrected.
    """
    if _NOT_PLAIN.search(text) or _LETTERS.search(text):
        return None
    text = _SPACES.sub(" ", _ELLIPSIS.sub(" ", text)).strip()
    if _INNER_DOT.search(text):
        return None
    for misspelt, word in _SPELLING.items():
        text = text.replace(misspelt, word)
    return text if len(sentence_words(text)) >= MIN_WORDS else None
