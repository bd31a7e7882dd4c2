"""Sentences that must not be trained on, known by their hashes.

A test list writes the SHA-256 of its sentences, one a line; whoever collects text for training
drops what matches. The hashes are of the words alone (`sentence_words`), so that case,
punctuation and spacing make no difference, and a list of hashes does not spread the sentences.
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
"""Sentences inside a longer text count on their own from this length on: "Thank you." does not."""

MIN_RUN_WORDS = 6
MAX_RUN_WORDS = 40
"""Runs of words inside a longer sentence are looked up if their length is within these limits."""

_WORD = re.compile(r"[a-z']+")
_SENTENCE_END = re.compile(r"(?<=[.?!:;])\s+")
_HASH = re.compile(r"[0-9a-f]{64}")


def sentence_words(text: str) -> list[str]:
    """Return a text's words in lower case: letters a to z and apostrophes, nothing else."""
    return _WORD.findall(text.lower())


def sentence_hash(text: str) -> str:
    """Return the SHA-256 (64 hexadecimal digits) of a text's words, joined by single spaces."""
    return _words_hash(sentence_words(text))


def sentence_hashes(texts: Iterable[str]) -> frozenset[str]:
    """Return the hashes of texts, and of each sentence in them of at least `MIN_PART_WORDS` words.

    Texts without words are passed over.
    """
    hashes = set()
    for text in texts:
        whole = sentence_words(text)
        parts = [sentence_words(part) for part in _SENTENCE_END.split(text)]
        hashes |= {_words_hash(part) for part in parts if len(part) >= MIN_PART_WORDS}
        if whole:
            hashes.add(_words_hash(whole))
    return frozenset(hashes)


def write_hashes(path: Path, hashes: Iterable[str]) -> None:
    """Write hashes one a line, in order; the same set gives the same bytes.

    Raises:
        OSError: the system does not let us write.
    """
    write_atomically(path, "".join(f"{line}\n" for line in sorted(set(hashes))))


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Sentences that must not be trained on.

    Attributes:
        hashes: as `sentence_hash` makes them.
    """

    hashes: frozenset[str]

    @classmethod
    def read(cls, *paths: Path) -> Exclusion:
        """Read files of hashes, one a line.

        Raises:
            RecordError: a line is no SHA-256; names file and line.
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
        """Tell whether a text is an excluded one, or holds one.

        It holds one if one of its sentences is excluded, or a run of `MIN_RUN_WORDS` to
        `MAX_RUN_WORDS` words in it ("He said: the birch canoe …"). Typographic apostrophes count
        as plain ones. A sentence of 20 words costs about 0.1 ms.
        """
        text = text.replace("’", "'")
        if not self.hashes.isdisjoint(sentence_hashes([text])):
            return True
        words = sentence_words(text)
        return any(
            _words_hash(words[start:end]) in self.hashes
            for start in range(len(words) - MIN_RUN_WORDS + 1)
            for end in range(start + MIN_RUN_WORDS, min(start + MAX_RUN_WORDS, len(words)) + 1)
        )


def _words_hash(words: list[str]) -> str:
    return hashlib.sha256(" ".join(words).encode("ascii")).hexdigest()
