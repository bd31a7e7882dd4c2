"""Sentences that must not be trained on, identified by their hashes.

A test list publishes the SHA-256 of its sentences, one per line, and text collected for training
drops the sentences that match. Only the words are hashed (`sentence_words`), so that case,
punctuation and spacing make no difference; publishing hashes does not spread the sentences.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from megaasr.atomic import write_atomically
from megaasr.errors import RecordError

MIN_PART_WORDS = 4
"""Words that a sentence within a longer text needs to be hashed by itself; "Thank you." is not."""

MIN_RUN_WORDS = 6
MAX_RUN_WORDS = 40
"""Shortest and longest run of words within a sentence that is looked up."""

_WORD = re.compile(r"[a-z']+")
_SENTENCE_END = re.compile(r"(?<=[.?!:;])\s+")
_HASH = re.compile(r"[0-9a-f]{64}")


def sentence_words(text: str) -> list[str]:
    """Return the words of a text in lower case: runs of letters a to z and apostrophes."""
    return _WORD.findall(text.lower())


def sentence_hash(text: str) -> str:
    """Return the SHA-256 (64 hexadecimal digits) of a text's words joined by single spaces."""
    return _hash_words(sentence_words(text))


def sentence_hashes(texts: Iterable[str]) -> frozenset[str]:
    """Return the hashes of texts, and of each sentence in them of at least `MIN_PART_WORDS` words.

    Texts without words are skipped.
    """
    hashes = set()
    for text in texts:
        words = sentence_words(text)
        sentences = [sentence_words(sentence) for sentence in _SENTENCE_END.split(text)]
        hashes |= {_hash_words(part) for part in sentences if len(part) >= MIN_PART_WORDS}
        if words:
            hashes.add(_hash_words(words))
    return frozenset(hashes)


def write_hashes(path: Path, hashes: Iterable[str]) -> None:
    """Write hashes one per line, sorted; the same set gives the same bytes.

    Raises:
        OSError: the file cannot be written.
    """
    write_atomically(path, "".join(f"{line}\n" for line in sorted(set(hashes))))


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A list of sentences that must not be trained on.

    Attributes:
        hashes: hashes of the sentences, made by `sentence_hash`.
    """

    hashes: frozenset[str]

    @classmethod
    def read(cls, *paths: Path) -> Exclusion:
        """Read files of hashes, one per line.

        Raises:
            RecordError: a line is not a SHA-256; the message names file and line.
            OSError: a file cannot be read.
        """
        hashes = set()
        for path in paths:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if not _HASH.fullmatch(line):
                    raise RecordError(
                        f"{path}, line {number}: {line[:80]!r} is not a SHA-256 in hexadecimal; "
                        "make the file again (make human-test)"
                    )
                hashes.add(line)
        return cls(frozenset(hashes))

    def matches(self, text: str) -> bool:
        """Return True if a text is an excluded sentence or contains one.

        It contains one if one of its sentences is excluded, or a run of `MIN_RUN_WORDS` to
        `MAX_RUN_WORDS` words within it ("He said: the birch canoe …"). Typographic apostrophes
        count as plain ones. A sentence of 20 words takes about 0.1 ms.
        """
        text = text.replace("’", "'")
        if not self.hashes.isdisjoint(sentence_hashes([text])):
            return True
        words = sentence_words(text)
        return any(
            _hash_words(words[start:end]) in self.hashes
            for start in range(len(words) - MIN_RUN_WORDS + 1)
            for end in range(start + MIN_RUN_WORDS, min(start + MAX_RUN_WORDS, len(words)) + 1)
        )


def _hash_words(words: list[str]) -> str:
    return hashlib.sha256(" ".join(words).encode("ascii")).hexdigest()
