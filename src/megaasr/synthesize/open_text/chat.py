"""Correct carelessly typed messages: capitals, apostrophes and final punctuation."""

from __future__ import annotations

import re

# Contractions that are typed without the apostrophe, and are not words in that spelling.
_APOSTROPHES = (
    "don't doesn't didn't can't isn't aren't wasn't weren't couldn't wouldn't shouldn't haven't "
    "hasn't hadn't i'm i've you're you've you'll they're they've they'll we've that's there's "
    "what's who's where's how's he's she's it'll that'll ain't"
)
_SPELLINGS = {form.replace("'", ""): form for form in _APOSTROPHES.split()}
_SPELLINGS |= {"alot": "a lot", "gonna": "going to", "wanna": "want to"}
_AFTER_ITS = (
    "a|an|the|not|so|very|really|pretty|just|like|been|going|all|my|your|okay|good|hard|easy|great|"
    "nice|cool|fun|funny|crazy|weird|kind|about|because|too|always|still|only|more|better|also|"
    "what|how|in|on|at|for|to"
)
_ITS = re.compile(rf"\b([Ii])ts (?=(?:{_AFTER_ITS})\b)")
_SMILEY = re.compile(r"\s*(?:[:;]-?[()DPp3/]|<3|\b[xX][Dd])(?=\s|$)")
_LAUGH = r"(?:[Hh]a)+h?|[Ll]ol"
_FIRST_NOISE = re.compile(rf"^(?:{_LAUGH}|[Hh]mm+|[Uu]mm*|[Uu]hh*)[,.!]*\s+")
_LAST_NOISE = re.compile(rf"[,.]?\s+(?:{_LAUGH})(?=[.?!]*$)")
_I = re.compile(r"\bi(?=\b(?!\.)|')")
_OPENER = r"(?:(?:so|and|but|well|oh|wow|okay|cool|yeah|nice),? )*"
# "What a day" and "how I did it" are not questions.
_NO_INVERSION = "a|an|i|you|we|they|he|she|it|my|your|the|this|that|these|those|to|ever"
_ASKING = re.compile(
    rf"{_OPENER}(?:(?:what|how|why|when|where|who|whose|which)\b(?! (?:{_NO_INVERSION})\b)|"
    r"(?:do|does|did|are|is|was|were|have|has|can|could|will|would|should|am) "
    r"(?:you|i|we|they|he|she|it|there|your|the|that|this|any|anyone)\b)",
    re.IGNORECASE,
)


def correct_chat(text: str) -> str:
    """Return a message with correct capitals, apostrophes and final punctuation.

    Smileys, and laughter at either end, are removed; "i" and missing apostrophes are corrected. A
    missing final mark is added: a question mark if the text starts like a question, else a full
    stop.
    """
    text = _SMILEY.sub("", text.strip())
    words = [_SPELLINGS.get(word.lower(), word) for word in text.split(" ")]
    text = _I.sub("I", _ITS.sub(r"\1t's ", " ".join(words)))
    text = _LAST_NOISE.sub("", _FIRST_NOISE.sub("", text))
    if text and text[-1] not in ".?!":
        text += "?" if _ASKING.match(text) else "."
    return text
