"""Keeps the texts of test lists out of the training text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from megaasr.errors import UsageError
from megaasr.synthesize.sentences import normalize
from megaasr.text.exclusion import MIN_RUN_WORDS, Exclusion


class ExcludedTexts:
    """Texts that may be neither in the training text nor quoted in it.

    A sentence is excluded if its normalised words are those of an excluded text, or if it shares a
    run of at least `MIN_RUN_WORDS` words with one. Of a text of which only the hash is known, the
    whole must be the sentence or a run of it.
    """

    def __init__(self, texts: Iterable[str], hashes: Iterable[str] = ()) -> None:
        """Take texts, and SHA-256 sums (hexadecimal) of normalised texts."""
        self._texts: set[str] = set()
        self._runs: set[tuple[str, ...]] = set()
        self._hashed = Exclusion(frozenset(hashes))
        for text in texts:
            words = normalize(text).split()
            if words:
                self._texts.add(" ".join(words))
                self._runs.update(_runs(words, MIN_RUN_WORDS))

    def excludes(self, sentence: str) -> bool:
        """Whether a sentence repeats an excluded text or a long run of one."""
        words = normalize(sentence).split()
        if " ".join(words) in self._texts:
            return True
        if self._runs and any(run in self._runs for run in _runs(words, MIN_RUN_WORDS)):
            return True
        return bool(self._hashed.hashes) and self._hashed.matches(sentence)


def read_excluded(paths: Iterable[Path]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the texts and the hashes of test lists.

    Args:
        paths: JSON lines with a field `text` (a manifest; `.jsonl`), SHA-256 sums of normalised
            texts (`.sha256`), or files with a text a line.

    Raises:
        UsageError: a file cannot be read, or a line of it has no text.
        RecordError: a line is no SHA-256.
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
