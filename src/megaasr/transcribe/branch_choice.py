"""Which branch's text of a chunk to keep when both branches decoded it.

The mean log-probability of a text is a poor judge: an empty text is nearly certain of itself. A
logistic regression on a few facts about both texts predicts which has fewer errors. Its
coefficients were fitted on clips with references (`mega-asr branch-choice`) and are stored beside
the model's weights as `branch_choice.json`. Without that file the rules of
`megaasr.transcribe.fallback` decide alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megaasr import strict_json
from megaasr.errors import CheckpointError
from megaasr.model.interface import Route
from megaasr.records import Attempt
from megaasr.text.error_rate import disagreement
from megaasr.transcribe.confidence import logit
from megaasr.transcribe.logistic_regression import Floats, fit_logistic, sigmoid

CHOICE_FILE = "branch_choice.json"
"""Name of the file beside a model's weights that holds the coefficients."""
FEATURES = (
    "constant",
    "router_log_odds",
    "logprob_difference",
    "lower_logprob",
    "base_empty",
    "robust_empty",
    "words_per_s_difference",
    "disagreement",
    "base_failed_checks",
    "robust_failed_checks",
)
"""Names of the features, in the order of `BranchTexts.features`."""
_MAX_LOGPROB_GAP = 3.0
_PENALTY = 1.0  # in words at stake; the constant is free


@dataclass(frozen=True, slots=True)
class BranchTexts:
    """The greedy texts of both branches for one chunk.

    Attributes:
        base, robust: the attempts.
        duration_s: length of the audio that was decoded, in seconds.
        degraded_probability: the router's probability of degraded audio, 0..1; None without one.
        language: ISO code that either branch stated.
    """

    base: Attempt
    robust: Attempt
    duration_s: float
    degraded_probability: float | None
    language: str | None

    def features(self) -> NDArray[np.float64]:
        """Return the features of the choice, float64 of shape [features]."""
        base_logprob = self.base.mean_logprob or 0.0
        robust_logprob = self.robust.mean_logprob or 0.0
        gap = robust_logprob - base_logprob
        words = [len(text.split()) for text in (self.base.text, self.robust.text)]
        probability = self.degraded_probability
        return np.array(
            [
                1.0,
                0.0 if probability is None else logit(probability) / 4.0,
                max(-_MAX_LOGPROB_GAP, min(_MAX_LOGPROB_GAP, gap)),
                max(-_MAX_LOGPROB_GAP, min(base_logprob, robust_logprob)),
                float(not self.base.text),
                float(not self.robust.text),
                math.tanh((words[1] - words[0]) / max(0.1, self.duration_s)),
                disagreement(self.base.text, self.robust.text, self.language),
                float(len(self.base.failed)),
                float(len(self.robust.failed)),
            ]
        )


ChooseBranch = Callable[[BranchTexts], Route | None]
"""Returns the branch whose text of a chunk is kept; None to leave it to the other rules."""


@dataclass(frozen=True, slots=True)
class BranchChoice:
    """A fitted choice between the branches.

    Attributes:
        coefficients: one for each of `FEATURES`.
    """

    coefficients: tuple[float, ...]

    def probability(self, texts: BranchTexts) -> float:
        """Return the probability, 0..1, that the text of the robust branch has fewer errors."""
        return sigmoid(float(np.dot(self.coefficients, texts.features())))

    def __call__(self, texts: BranchTexts) -> Route:
        """Return the branch whose text is kept."""
        return "robust" if self.probability(texts) >= 0.5 else "base"

    def to_json(self) -> str:
        """Return the content of `branch_choice.json`."""
        named = dict(zip(FEATURES, self.coefficients, strict=True))
        return strict_json.dumps({"schema": 1, "coefficients": named}, indent=1) + "\n"

    @classmethod
    def read(cls, path: Path) -> BranchChoice:
        """Read a `branch_choice.json`.

        Raises:
            CheckpointError: the file is damaged, or of other features.
        """
        try:
            named = json.loads(path.read_text(encoding="utf-8"))["coefficients"]
            if set(named) != set(FEATURES):
                raise CheckpointError(
                    f"{path} has the features {', '.join(sorted(named))}; this version takes "
                    f"{', '.join(sorted(FEATURES))}: fit it again with mega-asr branch-choice"
                )
            return cls(tuple(float(named[name]) for name in FEATURES))
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error


def read_branch_choice(folder: Path) -> BranchChoice | None:
    """Return the choice of the model in a folder; None if there is no file of it.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = folder / CHOICE_FILE
    return BranchChoice.read(path) if path.is_file() else None


def fit_branch_choice(
    texts: Sequence[BranchTexts], base_errors: Sequence[int], robust_errors: Sequence[int]
) -> BranchChoice:
    """Fit the choice by logistic regression; every chunk weighs the words that are at stake.

    Args:
        texts: the texts of both branches for each chunk.
        base_errors: errors of the base branch's text for each chunk.
        robust_errors: errors of the robust branch's text for each chunk.
    """
    gains = np.array(base_errors, dtype=np.float64) - np.array(robust_errors, dtype=np.float64)
    design: Floats = np.stack([each.features() for each in texts])
    penalty = np.full(len(FEATURES), _PENALTY)
    penalty[0] = 0.0
    coefficients = fit_logistic(
        design, (gains > 0).astype(np.float64), importance=np.abs(gains), penalty=penalty
    )
    return BranchChoice(tuple(round(float(value), 6) for value in coefficients))
