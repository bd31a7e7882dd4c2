"""The distribution of the grades of a data set, as numbers and as a picture."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from megaasr.records import read_manifest
from megaasr.text.error_bands import BANDS, BOUNDS

_COLOURS = ("#2a7f62", "#8fb339", "#e9a23b", "#b23a48")
_SEVERITY_BINS = 10


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of the grades of a data set.

    Attributes:
        bands: number of clips in each band.
        by_severity: severity and error rate of every clip that has a severity.
        by_scenario: error rates of the clips of each scenario; `clean` for clips without one.
    """

    bands: dict[str, int]
    by_severity: list[tuple[float, float]]
    by_scenario: dict[str, list[float]]


def summarize(listing: Path) -> Summary:
    """Count the grades in `graded.jsonl`."""
    bands: Counter[str] = Counter(dict.fromkeys(BANDS, 0))
    by_severity: list[tuple[float, float]] = []
    by_scenario: dict[str, list[float]] = defaultdict(list)
    for clip in read_manifest(listing):
        rate = float(clip.extra["base_error_rate"])
        bands[clip.extra["base_band"]] += 1
        scenario = str(clip.extra.get("scenario") or "clean")
        by_scenario[scenario].append(rate)
        if scenario != "clean" and clip.extra.get("severity") is not None:
            by_severity.append((float(clip.extra["severity"]), rate))
    return Summary(dict(bands), by_severity, dict(by_scenario))


def draw(summary: Summary, path: Path) -> None:
    """Draw the shares of the bands by severity and by scenario.

    Args:
        summary: counts of the grades.
        path: path of the picture; the suffix decides the format.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = sorted(summary.by_scenario, key=lambda n: (n.count("+") + (n != "clean"), n))
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(14, max(4.5, 0.2 * len(names) + 1.5)), width_ratios=(1, 1.4)
    )
    edges = np.linspace(0, 1, _SEVERITY_BINS + 1)
    groups = [
        [
            rate
            for severity, rate in summary.by_severity
            if low <= severity < high or high == 1 == severity
        ]
        for low, high in pairwise(edges.tolist())
    ]
    labels = [f"{low:.1f}–{high:.1f}" for low, high in pairwise(edges.tolist())]
    _stack(left, labels, groups)
    left.set_title("by severity (degraded clips)")
    _stack(right, names, [summary.by_scenario[name] for name in names])
    right.set_title("by scenario")
    right.invert_yaxis()
    right.tick_params(axis="y", labelsize=7)
    handles, texts = left.get_legend_handles_labels()
    figure.legend(handles, texts, loc="lower center", ncols=len(BANDS), frameon=False)
    figure.suptitle("Word error rate of the base model: share of clips in each band")
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _stack(axes: object, labels: list[str], groups: list[list[float]]) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    edges = [0.0, *BOUNDS, np.inf]
    counts = np.array([np.histogram(group, edges)[0] for group in groups], dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    start = np.zeros(len(groups))
    titles = [f"< {100 * bound:.0f} %" for bound in BOUNDS] + [f"≥ {100 * BOUNDS[-1]:.0f} %"]
    for column, (title, colour) in enumerate(zip(titles, _COLOURS, strict=True)):
        axes.barh(labels, shares[:, column], left=start, color=colour, label=title, height=0.8)
        start += shares[:, column]
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of clips")
    axes.spines[["top", "right"]].set_visible(False)
