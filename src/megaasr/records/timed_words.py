"""Words with known times, as the records of a corpus or test set list them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from megaasr.errors import RecordError

WORDS_FIELD = "words"
"""Field of a record that lists its words: objects with `text`, `end` and mostly `start`, in s."""


def read_timed_words(record: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Return the words of a record with their starts and ends in seconds.

    Simulated data sets keep the list as JSON text. A word without a start begins where the one
    before ends.

    Args:
        record: fields of the record.

    Returns:
        The words in order; none if the record does not list them.

    Raises:
        RecordError: the field is not a list of words with times.
    """
    words = record.get(WORDS_FIELD) or ()
    timed: list[tuple[str, float, float]] = []
    try:
        for word in json.loads(words) if isinstance(words, str) else words:
            start = word.get("start", timed[-1][2] if timed else 0.0)
            timed.append((str(word["text"]), float(start), float(word["end"])))
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise RecordError(
            f"{record.get('id', 'a record')}: {WORDS_FIELD} must be a list of text, start and end "
            "in seconds"
        ) from error
    return timed
