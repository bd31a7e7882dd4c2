"""A run's metrics as a picture: what was learnt, and what it did to the dev clips."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes.

    Attributes:
        label: of the vertical axis.
        lines: (name of the metric, label, factor) each; what a run does not have is left out.
        log: whether the vertical axis is logarithmic.
    """

    label: str
    lines: tuple[tuple[str, str, float], ...]
    log: bool = False


_DEV = (
    ("dev_substitutions", "substitutions", 100.0),
    ("dev_deletions", "deletions", 100.0),
    ("dev_insertions", "insertions", 100.0),
)
_BANDS = (
    ("dev_wer_all", "all", 100.0),
    ("dev_wer_below_30", "base < 30 %", 100.0),
    ("dev_wer_below_50", "base < 50 %", 100.0),
    ("dev_wer_below_70", "base < 70 %", 100.0),
    ("dev_wer_above", "base above", 100.0),
)
_RATES = (
    ("dev_empty", "empty", 100.0),
    ("dev_hallucination", "made up", 100.0),
    ("dev_omission", "omission", 100.0),
    ("dev_repetition", "repetition", 100.0),
    ("dev_truncated", "cut off", 100.0),
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
            *_DEV[1:],
            ("dev_words_on_nonspeech", "no-speech clips with words", 100.0),
        ),
    ),
)
SFT = (
    Panel("training loss", (("loss", "cross-entropy per token", 1.0),)),
    Panel("dev word error rate, %", _BANDS),
    Panel("dev, %", (*_DEV, *_RATES)),
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
            ("flat", "groups without spread", 100.0),
            ("empty", "empty", 100.0),
            ("loop", "loops", 100.0),
            ("overlong", "over-long", 100.0),
            ("clip_fraction", "clipped tokens", 100.0),
        ),
    ),
    Panel(
        "per token",
        (("entropy", "entropy, nats", 1.0), ("kl", "KL from the start x 10", 10.0)),
    ),
    Panel("tokens", (("tokens", "of a sample", 1.0),)),
    Panel("dev word error rate, %", _BANDS),
    Panel("dev, %", (*_DEV, *_RATES)),
)


def draw_curves(metrics: Path, picture: Path, panels: Sequence[Panel]) -> None:
    """Draw `metrics.jsonl` of a run into a PNG (needs the `train` extra)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = rows_of(metrics)
    across = min(len(panels), 3)
    down = -(-len(panels) // across)
    figure, axes = pyplot.subplots(
        down, across, figsize=(5.5 * across, 4 * down), constrained_layout=True, squeeze=False
    )
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes.flat, panels, strict=False):
        for name, label, factor in panel.lines:
            points = [(at, factor * row[name]) for at, row in rows if row.get(name) is not None]
            if panel.log:
                points = [point for point in points if point[1] > 0]
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


def rows_of(metrics: Path) -> list[tuple[int, Row]]:
    """Return (steps since the run began, row) in order.

    Steps count on from stage to stage; one that was repeated after a kill counts once.
    """
    latest: dict[tuple[str, int, bool], Row] = {}
    for line in metrics.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "step" in row:
            validation = any(name.startswith("dev") for name in row)
            latest[_stage(row), row["step"], validation] = row
    stages = list(dict.fromkeys(stage for stage, _, _ in latest))
    steps = {one: max(step for stage, step, _ in latest if stage == one) for one in stages}
    before = {one: sum(steps[other] for other in stages[:at]) for at, one in enumerate(stages)}
    placed = [(before[stage] + step, row) for (stage, step, _), row in latest.items()]
    return sorted(placed, key=lambda one: one[0])  # stable: training before validation


def _stage(row: Row) -> str:
    return f"{row.get('phase', '')} {row.get('stage', '')}"
