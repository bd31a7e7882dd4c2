"""Predictions from a file, matched with the clips of a test set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from megaasr.errors import UsageError
from megaasr.records.fields import names_of
from megaasr.score.predictions import Prediction, read_predictions_file
from megaasr.score.test_set import TestClip


def match_predictions(file: Path, clips: Sequence[TestClip]) -> dict[str, Prediction]:
    """Return the predictions of a file by clip id; a clip without a prediction gets an `error`.

    A clip is matched by, in this order: its id, its record's `name` and `index`, its audio path. A
    segment is matched by its own times, not by the path of its recording.

    Raises:
        RecordError: the file cannot be read.
        UsageError: the file has no prediction for any of the clips.
    """
    texts = read_predictions_file(file)
    predictions = {}
    for clip in clips:
        names = [clip.id, *names_of(clip.record or {}), clip.audio]
        text = next((texts[name] for name in names if name in texts), None)
        predictions[clip.id] = (
            Prediction("", error="no prediction in the file", duration_s=clip.duration_s)
            if text is None
            else Prediction(text, duration_s=clip.duration_s)
        )
    if all(prediction.error for prediction in predictions.values()):
        raise UsageError(f"{file} has no prediction for any clip of the test set: ids must agree")
    return predictions
