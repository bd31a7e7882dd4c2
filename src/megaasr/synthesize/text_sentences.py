"""Read sentences from a JSONL file with `text`, `source` and `kind`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from megaasr.errors import RecordError, UsageError


@dataclass(frozen=True, slots=True)
class SourceSentence:
    """A sentence to synthesise.

    Attributes:
        text: text with final punctuation, in which numbers are spelled out.
        source: name of the source of the text, such as `fortunes`.
        kind: kind of sentence, such as `statement` or `question`.
    """

    text: str
    source: str
    kind: str


def read_sentences(path: Path) -> list[SourceSentence]:
    """Read a file of sentences, in order.

    Raises:
        UsageError: the file does not exist, or it is empty.
        RecordError: a line is not a sentence; the message names the file and the line.
    """
    if not path.is_file():
        raise UsageError(
            f"there is no {path}; make the text first (see docs/small.md), or name a file of "
            "sentences with --set sentences=FILE"
        )
    sentences: list[SourceSentence] = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line.decode("utf-8"))
                values = [record[name] for name in ("text", "source", "kind")]
            except (ValueError, KeyError, TypeError) as error:
                raise RecordError(
                    f"{path}, line {number}: not a sentence record: {error!r}"
                ) from error
            if not all(isinstance(value, str) and value for value in values):
                raise RecordError(
                    f"{path}, line {number}: text, source and kind must be non-empty strings"
                )
            sentences.append(SourceSentence(*values))
    if not sentences:
        raise UsageError(f"{path} holds no sentence")
    return sentences
