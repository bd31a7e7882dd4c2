"""Whether a text was copied from the context that the model received. Pure functions.

A model that does not understand the audio may list the terms of its context instead: in their
order, in another one, or several times. But a speaker may say them, too; that is what the context
is for. So a text that consists of the context's words is an *echo* only with further evidence:

- three or more words in the order of the context;
- nearly all words of the context, two or more, in another order or each of them repeatedly;
- two or more words, where far more, or far less, speech was detected than they take to say.

In languages written without spaces the units are characters instead of words, and only characters
whose neighbour is the same in the context count as copied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from megaasr.text.languages import unit
from megaasr.text.normalize import tokens

_MIN_RUN = 3  # two consecutive words may match by chance
_MIN_WORDS, _MIN_CHARACTERS = 2, 4
_COVERAGE = 0.8  # share of the context's words that counts as nearly all
# The slowest of 1,900 clips has 7 letters a second of speech, and nobody exceeds 30.
_MIN_LETTERS_PER_S, _MAX_LETTERS_PER_S = 7.0, 30.0
_ALLOWANCE_S = 1.0
_LETTERS_PER_CHARACTER = 2.5


def context_echo(
    words: Sequence[str], context: str, language: str | None, speech_s: float
) -> float:
    """Return the share of words, 0..1, that are copied from the context; 0 without evidence that
    they were copied and not spoken.

    Args:
        words: normalised words of the text; characters in languages written without spaces.
        context: free text that the model received.
        language: ISO code that selects the tokenisation, or None.
        speech_s: seconds of detected speech; without detection, of audio.
    """
    context_words = tokens(context, language=language) if context.strip() else ()
    by_characters = unit(language) == "character"
    if not context_words or len(words) < (_MIN_CHARACTERS if by_characters else _MIN_WORDS):
        return 0.0
    run = _longest_common_run(words, context_words)
    in_order = run / len(words) if run >= _MIN_RUN * (2 if by_characters else 1) else 0.0
    copied = _copied(words, context_words, 2 if by_characters else 1)
    letters = sum(map(len, words)) * (_LETTERS_PER_CHARACTER if by_characters else 1.0)
    if _lists(copied, context_words) or not _fits(letters, speech_s):
        return max(in_order, len(copied) / len(words))
    return in_order


def _copied(words: Sequence[str], context: Sequence[str], min_run: int) -> list[str]:
    """Return the words, in order, that lie in a run of at least `min_run` that the context has."""
    runs = {tuple(context[i : i + min_run]) for i in range(len(context) - min_run + 1)}
    copied = [False] * len(words)
    for start in range(len(words) - min_run + 1):
        if tuple(words[start : start + min_run]) in runs:
            copied[start : start + min_run] = [True] * min_run
    return [word for word, is_copied in zip(words, copied, strict=True) if is_copied]


def _lists(copied: Sequence[str], context: Sequence[str]) -> bool:
    """Return whether words are nearly all of the context's, reordered or repeated."""
    terms = list(dict.fromkeys(context))
    listed = list(dict.fromkeys(copied))
    if len(listed) < _MIN_WORDS or len(listed) < _COVERAGE * len(terms):
        return False
    repeated = min(Counter(copied).values()) > 1
    return repeated or listed != [term for term in terms if term in set(listed)]


def _fits(letters: float, speech_s: float) -> bool:
    """Return whether letters can be spoken in this time, and take about this time."""
    slowest_s = letters / _MIN_LETTERS_PER_S + _ALLOWANCE_S
    return letters / _MAX_LETTERS_PER_S <= speech_s <= slowest_s


def _longest_common_run(first: Sequence[str], second: Sequence[str]) -> int:
    longest = 0
    row = [0] * (len(second) + 1)
    for word in first:
        row = [0, *(row[i] + 1 if word == match else 0 for i, match in enumerate(second))]
        longest = max(longest, *row)
    return longest
