"""Which words of a text are right."""

from __future__ import annotations

from collections.abc import Sequence

from megaasr.text.error_rate import align
from megaasr.text.normalize import tokens


def right_words(
    reference: str, words: Sequence[str], language: str | None, normalizer: str = "bench"
) -> list[bool] | None:
    """Tell for each recognised word whether it stands in the reference.

    Args:
        reference: what was said.
        words: of the text, as recognised, in order.
        language: ISO code, None if unknown.
        normalizer: see `megaasr.text.normalize`.

    Returns:
        A flag for each word (one that the normaliser leaves nothing of is right); None where the
        normaliser joins words, so that they cannot be told apart.
    """
    parts = [tokens(word, language=language, normalizer=normalizer) for word in words]
    text = "".join(words) if language in {"zh", "ja", "yue"} else " ".join(words)
    if [one for part in parts for one in part] != list(
        tokens(text, language=language, normalizer=normalizer)
    ):
        return None
    steps = align(reference, text, language=language, normalizer=normalizer)
    hits = iter([step.kind == "hit" for step in steps if step.hypothesis is not None])
    # Every token must be taken, also after a miss.
    return [sum(next(hits) for _ in part) == len(part) for part in parts]
