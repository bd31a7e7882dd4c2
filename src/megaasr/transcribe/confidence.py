"""How sure a word is: the model's probability, calibrated on clips whose words are known.

The model's probability of a word is the product of its tokens' probabilities. Networks are surer
than they are right, the more so on bad audio; a logistic curve on the log-odds (Platt scaling),
fitted by `mega-asr confidence` and kept beside the weights as `confidence.json`, mends that.
Models without that file give the plain probability.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megaasr.errors import CheckpointError

FILE = "confidence.json"
_LIMIT = 1e-6


@dataclass(frozen=True, slots=True)
class Calibration:
    """confidence = sigmoid(slope * logit(probability) + intercept).

    Attributes:
        slope, intercept: 1 and 0 leave the probability as it is.
    """

    slope: float = 1.0
    intercept: float = 0.0

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """Read a `confidence.json`.

        Raises:
            CheckpointError: the file is damaged.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls(float(found["slope"]), float(found["intercept"]))
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error

    def __call__(self, probability: float) -> float:
        """Return the confidence, 0..1, of a word with this probability."""
        inside = self.slope * logit(probability) + self.intercept
        return 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, inside))))

    def to_json(self) -> str:
        """Return the content of `confidence.json`."""
        return json.dumps({"schema": 1, **asdict(self)}, indent=1) + "\n"


def logit(probability: float) -> float:
    """Return log(p / (1 - p)), with p kept a millionth away from 0 and 1."""
    p = min(1.0 - _LIMIT, max(_LIMIT, probability))
    return math.log(p / (1.0 - p))


def read_calibration(folder: Path) -> Calibration:
    """Return the calibration of the model in a folder; the identity if it has none.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = folder / FILE
    return Calibration.read(path) if path.is_file() else Calibration()


def fit(probabilities: Sequence[float], right: Sequence[bool]) -> Calibration:
    """Fit a calibration by maximum likelihood (Newton's method; Platt's smoothed targets).

    Args:
        probabilities: of words.
        right: whether each was what was said.
    """
    x = np.array([logit(p) for p in probabilities])
    good = np.array(right, dtype=np.float64)
    hits, misses = good.sum(), (1.0 - good).sum()
    target = np.where(good > 0, (hits + 1) / (hits + 2), 1 / (misses + 2))
    design = np.stack([x, np.ones_like(x)], axis=1)
    weights = np.array([1.0, 0.0])
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-design @ weights))
        gradient = design.T @ (p - target)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        weights = weights - step
        if float(np.abs(step).max()) < 1e-9:
            break
    return Calibration(float(weights[0]), float(weights[1]))


def expected_calibration_error(
    confidences: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 10
) -> float:
    """Return the mean distance of confidence and share of right words over bins of confidence,
    weighted by their words (Naeini et al. 2015).

    Args:
        confidences: float64 [words], 0..1.
        right: bool [words].
        bins: of equal width.
    """
    place = np.minimum((confidences * bins).astype(int), bins - 1)
    gaps = [
        abs(float(confidences[here].mean()) - float(right[here].mean())) * int(here.sum())
        for at in range(bins)
        if (here := place == at).any()
    ]
    return sum(gaps) / max(1, len(confidences))
