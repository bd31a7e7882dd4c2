"""Word confidence: the model's probability of a word, calibrated on clips with references.

The model's probability of a word is the product of the probabilities of its tokens. Networks are
overconfident, especially on degraded audio. A logistic curve over the log-odds (Platt scaling)
corrects that. It is lower where the whole text is improbable, and where the router takes the audio
for degraded: one curve for all audio would be too high there and too low on clean speech.
`mega-asr confidence` fits it, and it is stored as `confidence.json` beside the weights. For a model
without this file the confidence is the uncalibrated probability.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megaasr import strict_json
from megaasr.errors import CheckpointError
from megaasr.transcribe.logistic_regression import fit_logistic, sigmoid
from megaasr.transcribe.segment_facts import NO_FACTS, SegmentFacts

CALIBRATION_FILE = "confidence.json"
"""Name of the file beside a model's weights that holds its calibration."""
_MIN_PROBABILITY = 1e-6
_MIN_LOGPROB = -3.0
_PENALTY = 1.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Maps the model's probability of a word to its confidence by Platt scaling.

    confidence = sigmoid(slope * logit(probability) + intercept + mean_logprob * m +
    degraded_probability * d). The defaults leave the probability unchanged.

    Attributes:
        slope: factor of the log-odds; below 1 for an overconfident model.
        intercept: term added to the log-odds.
        mean_logprob: factor of the mean log-probability of the segment's tokens, which is limited
            to -3 .. 0.
        degraded_probability: factor of the router's probability of degraded audio.
    """

    slope: float = 1.0
    intercept: float = 0.0
    mean_logprob: float = 0.0
    degraded_probability: float = 0.0

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """Read a `confidence.json`.

        Raises:
            CheckpointError: the file is damaged.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                float(document["slope"]),
                float(document["intercept"]),
                # Files of schema 1 know nothing of segments.
                float(document.get("mean_logprob", 0.0)),
                float(document.get("degraded_probability", 0.0)),
            )
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error

    def __call__(self, probability: float, facts: SegmentFacts = NO_FACTS) -> float:
        """Return the confidence, 0..1, of a word.

        Args:
            probability: the model's probability of the word, 0..1.
            facts: facts about its segment.
        """
        slope, *others = asdict(self).values()
        values = (1.0, *_segment_features(facts))
        offset = sum(factor * value for factor, value in zip(others, values, strict=True))
        return sigmoid(slope * logit(probability) + offset)

    def to_json(self) -> str:
        """Return the content of `confidence.json`."""
        return strict_json.dumps({"schema": 2, **asdict(self)}, indent=1) + "\n"


def logit(probability: float) -> float:
    """Return log(p / (1 - p)), with p limited to 1e-6 .. 1 - 1e-6."""
    p = min(1.0 - _MIN_PROBABILITY, max(_MIN_PROBABILITY, probability))
    return math.log(p / (1.0 - p))


def read_calibration(folder: Path) -> Calibration:
    """Return the calibration of the model in a folder; the identity if there is no file of it.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = folder / CALIBRATION_FILE
    return Calibration.read(path) if path.is_file() else Calibration()


def _segment_features(facts: SegmentFacts) -> tuple[float, float]:
    """Return the features of a segment: its limited log-probability, and how degraded it is."""
    return max(_MIN_LOGPROB, facts.mean_logprob or 0.0), facts.degraded_probability or 0.0


def fit_calibration(
    probabilities: Sequence[float],
    correct: Sequence[bool],
    facts: Sequence[SegmentFacts] | None = None,
) -> Calibration:
    """Fit a calibration by maximum likelihood: Newton's method, with Platt's smoothed targets.

    Args:
        probabilities: the model's probability of each word, 0..1.
        correct: whether each word is correct.
        facts: facts about the segment of each word; None to fit without them.
    """
    x = np.array([logit(p) for p in probabilities])
    labels = np.array(correct, dtype=np.float64)
    hits, misses = labels.sum(), (1.0 - labels).sum()
    target = np.where(labels > 0, (hits + 1) / (hits + 2), 1 / (misses + 2))
    design = np.stack([x, np.ones_like(x)], axis=1)
    start, penalty = np.array([1.0, 0.0]), np.zeros(2)
    if facts is not None:
        design = np.concatenate([design, [_segment_features(each) for each in facts]], axis=1)
        start = np.array([1.0, 0.0, 0.0, 0.0])
        # A feature that never varies, as without a router, gets no weight.
        penalty = np.array([0.0, 0.0, _PENALTY, _PENALTY])
    weights = fit_logistic(design, target, start=start, penalty=penalty)
    return Calibration(*(round(float(value), 6) for value in weights))


def expected_calibration_error(
    confidences: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = 10
) -> float:
    """Return the mean distance between confidence and share of correct words over bins of equal
    width, weighted by the number of words in each bin (Naeini et al. 2015).

    Args:
        confidences: confidence of each word, 0..1, float64 of shape [words].
        correct: whether each word is correct, bool of shape [words].
        bins: number of bins.
    """
    bin_of_word = np.minimum((confidences * bins).astype(int), bins - 1)
    gaps = [
        abs(float(confidences[in_bin].mean()) - float(correct[in_bin].mean())) * int(in_bin.sum())
        for i in range(bins)
        if (in_bin := bin_of_word == i).any()
    ]
    return sum(gaps) / max(1, len(confidences))
