"""Split paragraphs of written English into sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator

# A full stop after these does not end a sentence.
_ABBREVIATION_WORDS = (
    "mr mrs ms dr st jr sr prof rev hon gen col capt lt sgt gov sen rep pres messrs vs etc e.g i.e "
    "viz cf al no vol pp p fig ed eds inc ltd co corp dept est approx jan feb mar apr jun jul aug "
    "sep sept oct nov dec mt ft ave blvd rd"
)
_ABBREVIATIONS = frozenset(_ABBREVIATION_WORDS.split())
_END = re.compile(r"""[.?!]+["')\]]*(?=\s+["'(\[]?[A-Z0-9]|\s*$)""")
_LAST_WORD = re.compile(r"([A-Za-z][A-Za-z.]*)$")


def split_sentences(paragraph: str) -> Iterator[str]:
    """Split at full stops, question and exclamation marks that end a sentence.

    Args:
        paragraph: running text with ASCII quotes; line breaks have no meaning.

    Yields:
        Sentences with their punctuation and quotes and with single spaces; the last one may be
        incomplete.
    """
    text = " ".join(paragraph.split())
    start = 0
    for match in _END.finditer(text):
        if match[0].startswith(".") and not match[0].startswith("..") and _abbreviated(text, match):
            continue
        yield text[start : match.end()].strip()
        start = match.end()
    remainder = text[start:].strip()
    if remainder:
        yield remainder


def _abbreviated(text: str, match: re.Match[str]) -> bool:
    word = _LAST_WORD.search(text, 0, match.start())
    if word is None or match.end() == len(text):
        return False
    # An initial ("J. Smith"), but not "I." at the end of a sentence.
    initial = len(word[1]) == 1 and word[1].isupper() and word[1] != "I"
    return initial or word[1].lower() in _ABBREVIATIONS
