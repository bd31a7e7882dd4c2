"""Predictions that somebody else made, matched with the clips of a test set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from megaasr.errors import UsageError
from megaasr.score.predictions import Prediction, read_predictions_file
from megaasr.score.test_set import TestClip


def look_up(file: Path, clips: Sequence[TestClip]) -> dict[str, Prediction]:
    """Return the predictions of a file by clip; a clip without one has an error.

    Names are tried in this order: the clip's id, its record's `name` and `index`, its audio.

    Raises:
        RecordError: the file cannot be read.
        UsageError: it has no prediction for any clip.
    """
    texts = read_predictions_file(file)
    said = {}
    for clip in clips:
        record = clip.record or {}
        names = (clip.id, record.get("name"), record.get("index"), clip.audio)
        text = next((texts[str(n)] for n in names if n is not None and str(n) in texts), None)
        said[clip.id] = (
            Prediction("", error="no prediction in the file", duration_s=clip.duration_s)
            if text is None
            else Prediction(text, duration_s=clip.duration_s)
        )
    if all(one.error for one in said.values()):
        raise UsageError(f"{file} has no prediction for any clip of the test set: ids must agree")
    return said
