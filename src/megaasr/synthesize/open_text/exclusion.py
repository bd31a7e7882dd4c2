"""Keep the texts of test lists out of the training text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from megaasr.errors import UsageError
from megaasr.synthesize.sentences import normalize
from megaasr.text.exclusion import MIN_RUN_WORDS, Exclusion


class ExcludedTexts:
    """Texts that may neither occur in the training text nor be quoted in it.

    A sentence is excluded if its normalised words are those of an excluded text, or if it shares at
    least `MIN_RUN_WORDS` consecutive words with one. Where only the hash of a text is known, the
    sentence must be or contain the complete text.
    """

    def __init__(self, texts: Iterable[str], hashes: Iterable[str] = ()) -> None:
        """Create the exclusion.

        Args:
            texts: excluded texts.
            hashes: SHA-256 sums of further normalised texts, in hexadecimal.
        """
        self._texts: set[str] = set()
        self._runs: set[tuple[str, ...]] = set()
        self._hashed = Exclusion(frozenset(hashes))
        for text in texts:
            words = normalize(text).split()
            if words:
                self._texts.add(" ".join(words))
                self._runs.update(_runs(words, MIN_RUN_WORDS))

    def excludes(self, sentence: str) -> bool:
        """Return whether a sentence repeats an excluded text or a long run of one."""
        words = normalize(sentence).split()
        if " ".join(words) in self._texts:
            return True
        if self._runs and any(run in self._runs for run in _runs(words, MIN_RUN_WORDS)):
            return True
        return bool(self._hashed.hashes) and self._hashed.matches(sentence)


def read_excluded(paths: Iterable[Path]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the texts and the hashes in files of test lists.

    Args:
        paths: manifests with a field `text` (`.jsonl`), files of SHA-256 sums of normalised texts
            (`.sha256`), or text files with one text per line.

    Raises:
        UsageError: a file cannot be read, or a line of it has no text.
        RecordError: a line of a `.sha256` file is not a SHA-256 sum.
    """
    texts: set[str] = set()
    hashes: set[str] = set()
    for path in paths:
        try:
            if path.suffix == ".sha256":
                hashes |= Exclusion.read(path).hashes
                continue
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: cannot be read as a test list ({error})") from error
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                texts.add(json.loads(line)["text"] if path.suffix == ".jsonl" else line)
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(f"{path}, line {number}: no field `text` ({error})") from error
    return frozenset(texts), frozenset(hashes)


def _runs(words: list[str], length: int) -> Iterator[tuple[str, ...]]:
    for start in range(len(words) - length + 1):
        yield tuple(words[start : start + length])
