"""Plots of a run's metrics: training, and validation on the dev clips."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megaasr.text.error_bands import BANDS, BOUNDS
from megaasr.train.run import is_validation

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes.

    Attributes:
        label: label of the vertical axis.
        lines: (name of the metric, label, factor) for each line; metrics that a run does not have
            are left out.
        log: whether the vertical axis is logarithmic.
    """

    label: str
    lines: tuple[tuple[str, str, float], ...]
    log: bool = False


_ERRORS = (
    ("dev_substitutions", "substitutions", 100.0),
    ("dev_deletions", "deletions", 100.0),
    ("dev_insertions", "insertions", 100.0),
)
_ERROR_RATES = (
    ("dev_wer_all", "all", 100.0),
    *(
        (f"dev_wer_{band}", f"base < {100 * bound:.0f} %", 100.0)
        for band, bound in zip(BANDS, BOUNDS, strict=False)
    ),
    (f"dev_wer_{BANDS[-1]}", "base above", 100.0),
)
_FAILURES = (
    ("dev_empty", "empty", 100.0),
    ("dev_hallucination", "hallucination", 100.0),
    ("dev_omission", "omission", 100.0),
    ("dev_repetition", "repetition", 100.0),
    ("dev_truncated", "truncated", 100.0),
)
BASE = (
    # While the encoder learns alone, the cross-entropy is logged as 0.
    Panel(
        "training loss",
        (("loss", "cross-entropy per token", 1.0), ("ctc", "CTC per phoneme", 1.0)),
        log=True,
    ),
    Panel(
        "dev, %",
        (
            ("dev_wer", "word error rate", 100.0),
            *_ERRORS[1:],
            ("dev_words_on_nonspeech", "no-speech clips with words", 100.0),
        ),
    ),
)
SFT = (
    Panel("training loss", (("loss", "cross-entropy per token", 1.0),)),
    Panel("dev word error rate, %", _ERROR_RATES),
    Panel("dev, %", (*_ERRORS, *_FAILURES)),
)
RL = (
    Panel(
        "reward",
        (
            ("reward_total", "R", 1.0),
            ("reward_static", "R_static", 1.0),
            ("reward_dynamic", "R_dynamic", 1.0),
            ("reward_fine", "R_fine", 1.0),
            ("reward_structure", "R_struc", 1.0),
        ),
    ),
    Panel(
        "samples, %",
        (
            ("wer", "word error rate", 100.0),
            ("substitutions", "substitutions", 100.0),
            ("deletions", "deletions", 100.0),
            ("insertions", "insertions", 100.0),
        ),
    ),
    Panel(
        "groups and samples, %",
        (
            ("flat", "groups with zero variance", 100.0),
            ("empty", "empty", 100.0),
            ("loop", "loops", 100.0),
            ("overlong", "truncated", 100.0),
            ("clip_fraction", "clipped tokens", 100.0),
        ),
    ),
    Panel(
        "per token",
        (("entropy", "entropy, nats", 1.0), ("kl", "KL from the start x 10", 10.0)),
    ),
    Panel("tokens", (("tokens", "per sample", 1.0),)),
    Panel("dev word error rate, %", _ERROR_RATES),
    Panel("dev, %", (*_ERRORS, *_FAILURES)),
)


def draw_curves(metrics: Path, picture: Path, panels: Sequence[Panel]) -> None:
    """Plot the metrics of a run (needs the extra `train`).

    Args:
        metrics: `metrics.jsonl` of the run.
        picture: PNG file to write.
        panels: panels of the plot, such as `SFT`.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = cumulative_rows(metrics)
    columns = min(len(panels), 3)
    lines = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(
        lines, columns, figsize=(5.5 * columns, 4 * lines), constrained_layout=True, squeeze=False
    )
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes.flat, panels, strict=False):
        for name, label, factor in panel.lines:
            points = [(step, factor * row[name]) for step, row in rows if row.get(name) is not None]
            if panel.log:
                points = [(step, value) for step, value in points if value > 0]
            if points:
                marker = "." if name.startswith("dev") else None
                axis.plot(*zip(*points, strict=True), label=label, marker=marker)
        axis.set(xlabel="step", ylabel=panel.label)
        axis.set_yscale("log") if panel.log else axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize="small")
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def cumulative_rows(metrics: Path) -> list[tuple[int, Row]]:
    """Return (step since the start of the run, row) for the rows of `metrics.jsonl`, in order.

    The steps of a stage are added to those of the stages before it. A step that was repeated after
    a kill appears once.
    """
    latest: dict[tuple[str, int, bool], Row] = {}
    for line in metrics.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "step" in row:
            latest[_stage(row), row["step"], is_validation(row)] = row
    steps: dict[str, int] = {}
    for stage, step, _ in latest:
        steps[stage] = max(step, steps.get(stage, 0))
    offsets, total = {}, 0
    for stage, count in steps.items():
        offsets[stage] = total
        total += count
    rows = [(offsets[stage] + step, row) for (stage, step, _), row in latest.items()]
    return sorted(rows, key=lambda entry: entry[0])  # stable: training before validation


def _stage(row: Row) -> str:
    return f"{row.get('phase', '')} {row.get('stage', '')}"
