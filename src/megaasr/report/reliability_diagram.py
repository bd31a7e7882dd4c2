"""The reliability diagram of word confidences, as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megaasr.errors import UsageError

_BINS = 10
_MIN_WORDS = 20  # in a bin; the share of correct words is too uncertain below


def draw_reliability_diagram(
    path: Path,
    probabilities: NDArray[np.float64],
    confidences: NDArray[np.float64],
    correct: NDArray[np.bool_],
) -> None:
    """Draw the share of correct words over their confidence, and a histogram of confidences.

    Args:
        path: the PNG file to write.
        probabilities: the model's probability of each word, 0..1, shape [words].
        confidences: the calibrated confidence of each word, 0..1, shape [words].
        correct: whether each word is correct, shape [words].

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt
    except ModuleNotFoundError as error:
        raise UsageError("the picture needs matplotlib: pip install 'megaasr[train]'") from error
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(6, 7), height_ratios=(3, 1), sharex=True)
    upper.plot([0, 1], [0, 1], color="#999", linewidth=1, linestyle="--")
    edges = np.linspace(0, 1, _BINS + 1)
    for name, values, colour, mark in (
        ("model's probability", probabilities, "#b23a48", "s"),
        ("calibrated", confidences, "#1f5f99", "o"),
    ):
        bin_of_word = np.minimum((values * _BINS).astype(int), _BINS - 1)
        members = [bin_of_word == index for index in range(_BINS)]
        filled = [words for words in members if words.sum() >= _MIN_WORDS]
        x = [float(values[words].mean()) for words in filled]
        y = [float(correct[words].mean()) for words in filled]
        upper.plot(x, y, color=colour, marker=mark, label=name)
        lower.hist(values, edges, histtype="step", color=colour, linewidth=1.5)
    upper.set(ylabel="share of words that are right", ylim=(0, 1), title="Reliability of words")
    upper.legend(frameon=False, loc="upper left")
    lower.set(xlabel="confidence", ylabel="words", xlim=(0, 1))
    for axis in (upper, lower):
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
