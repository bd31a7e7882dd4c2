"""What other texts of a chunk have in the place of each word of the text that is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from megaasr.records.segments import WordAlternative
from megaasr.text.error_rate import align_tokens
from megaasr.text.languages import split_words
from megaasr.text.normalize import tokens


def rank_word_alternatives(
    words: Sequence[str], texts: Sequence[str], language: str | None, count: int
) -> tuple[WordAlternative, ...]:
    """Return the most frequent alternatives of each word, in the order of the words.

    Each text is aligned to the words with the fewest edits. Words that a text has between two
    others are alternatives of neither.

    Args:
        words: words of the text that is kept, with punctuation.
        texts: texts of the same chunk; one that occurs twice counts twice.
        language: ISO code of the language; None if unknown.
        count: maximum number of alternatives of a word.
    """
    kept = [_normalized(word, language) for word in words]
    frequencies: list[Counter[str]] = [Counter() for _ in words]
    spellings: dict[str, str] = {"": ""}
    for text in texts:
        others = split_words(text, language)
        index = 0
        remaining = iter(others)
        for step in align_tokens(kept, [_normalized(word, language) for word in others]):
            if step.hypothesis is not None:
                spellings.setdefault(step.hypothesis, next(remaining))
            if step.reference is not None:
                frequencies[index][step.hypothesis or ""] += step.kind != "hit"
                index += 1
    return tuple(
        WordAlternative(index, spellings[word], round(frequency / len(texts), 4))
        for index, frequency_of in enumerate(frequencies)
        for word, frequency in frequency_of.most_common(count)
        if frequency
    )


def _normalized(word: str, language: str | None) -> str:
    """Return a word as scoring compares it; a word of punctuation alone as it is."""
    return " ".join(tokens(word, language, "bench")) or word
