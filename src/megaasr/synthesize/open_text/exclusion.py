"""Keeps the texts of test lists out of the training text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from megaasr.errors import UsageError
from megaasr.synthesize.sentences import normalize

RUN_WORDS = 6


class ExcludedTexts:
    """Texts that may be neither in the training text nor quoted in it.

    A sentence is excluded if its normalised words are those of an excluded text, or if it shares a
    run of at least `RUN_WORDS` words with one.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts: set[str] = set()
        self._runs: set[tuple[str, ...]] = set()
        for text in texts:
            words = normalize(text).split()
            if words:
                self._texts.add(" ".join(words))
                self._runs.update(_runs(words))

    def __len__(self) -> int:
        return len(self._texts)

    def excludes(self, sentence: str) -> bool:
        """Whether a sentence repeats an excluded text or a long run of one."""
        words = normalize(sentence).split()
        if " ".join(words) in self._texts:
            return True
        return bool(self._runs) and any(run in self._runs for run in _runs(words))


def read_excluded_texts(path: Path) -> frozenset[str]:
    """Return the texts of a test list.

    Args:
        path: JSON lines with a field `text` (a manifest; `.jsonl`), or any other text file with a
            text a line.

    Raises:
        UsageError: the file cannot be read, or a line has no text.
    """
    try:
        lines = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as a list of excluded texts ({error})") from error
    if path.suffix != ".jsonl":
        return frozenset(lines)
    texts = set()
    for number, line in enumerate(lines, start=1):
        try:
            texts.add(str(json.loads(line)["text"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path}, line {number}: no field `text` ({error})") from error
    return frozenset(texts)


def _runs(words: list[str]) -> Iterator[tuple[str, ...]]:
    for start in range(len(words) - RUN_WORDS + 1):
        yield tuple(words[start : start + RUN_WORDS])
