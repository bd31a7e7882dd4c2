"""Which part of an utterance's text is stable, from the hypotheses that followed each other.

Text that became stable is never taken back: every later hypothesis begins with it, or is ignored.
Nothing is shown before two hypotheses in a row agree about the first word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from megaasr.stream.options import CommitPolicy

HELD_BACK_WORDS = 3
"""Words at the end of a hypothesis that `rollback` does not make stable; Qwen3-ASR's own streaming
holds back five tokens."""
_UNFIXED_HYPOTHESES = 2  # as in Qwen3-ASR's own streaming
# A word, or a character of a language that is written without spaces.
_WORD = re.compile(
    "[\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]"
    "|[^\\s\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]+"
)


class Commitment:
    """Stable and volatile text of one utterance.

    Args:
        policy: when text becomes stable.

    Attributes:
        stable: text that does not change any more.
        volatile: text after it that may change.
        is_shown: whether two hypotheses have agreed about the first word.
    """

    def __init__(self, policy: CommitPolicy) -> None:
        self.stable = ""
        self.volatile = ""
        self.is_shown = False
        self._policy = policy
        self._previous: str | None = None
        self._count = 0

    def add(self, text: str, *, may_commit: bool = True) -> None:
        """Take the next hypothesis into account.

        Args:
            text: text of the whole utterance so far.
            may_commit: whether text may become stable.
        """
        if not text.startswith(self.stable):
            self.forget()
            return
        previous, self._previous = self._previous, text
        self._count += 1
        if previous is None:
            self.volatile = text[len(self.stable) :] if self.is_shown else ""
            return
        ends = _word_ends(text)
        agreed = _count_agreed(previous, text)
        self.is_shown = self.is_shown or agreed > 0
        if may_commit and self.is_shown:
            self._commit(text, ends[: self._stable_words(len(ends), agreed, previous)])
        self.volatile = text[len(self.stable) :] if self.is_shown else ""

    def forget(self) -> None:
        """Forget the last hypothesis, so that the next one has nothing to agree with."""
        self._previous = None
        self.volatile = ""

    def _stable_words(self, count: int, agreed: int, previous: str) -> int:
        """Return how many words of a hypothesis are stable."""
        if self._policy == "agreement":
            # What follows may still belong to the last word.
            return min(agreed, count - 1, len(_word_ends(previous)) - 1)
        if self._policy == "rollback" and self._count > _UNFIXED_HYPOTHESES:
            return count - HELD_BACK_WORDS
        return 0

    def _commit(self, text: str, ends: Sequence[int]) -> None:
        if ends and ends[-1] > len(self.stable):
            self.stable = text[: ends[-1]]


def _word_ends(text: str) -> list[int]:
    """Return the index after each word of a text."""
    return [match.end() for match in _WORD.finditer(text)]


def _count_agreed(previous: str, text: str) -> int:
    """Return how many words at the beginning of two texts are equal."""
    pairs = zip(_WORD.findall(previous), _WORD.findall(text), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
