"""A run's metrics as a picture: losses and error rate over the steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def draw_curves(metrics: Path, picture: Path) -> None:
    """Draw `metrics.jsonl` of a run into a PNG (needs the `train` extra)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = _latest(metrics)
    figure, (losses, errors) = pyplot.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
    for name, label in (("loss", "cross-entropy per token"), ("ctc", "CTC per phoneme")):
        # While the encoder learns alone, the cross-entropy is logged as 0.
        points = [(row["step"], row[name]) for row in rows if row.get(name)]
        losses.plot(*zip(*points, strict=True), label=label) if points else None
    losses.set(xlabel="step", ylabel="training loss", yscale="log")
    losses.legend()
    for name, label in (
        ("dev_wer", "word error rate"),
        ("dev_deletions", "deletions"),
        ("dev_insertions", "insertions"),
        ("dev_words_on_nonspeech", "no-speech clips with words"),
    ):
        points = [(row["step"], 100 * row[name]) for row in rows if name in row]
        errors.plot(*zip(*points, strict=True), label=label, marker=".") if points else None
    errors.set(xlabel="step", ylabel="dev, %", ylim=(0, 100))
    errors.legend()
    for axis in (losses, errors):
        axis.grid(alpha=0.3)
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def _latest(metrics: Path) -> list[dict[str, Any]]:
    """Rows in order of steps; a step that was repeated after a kill counts once."""
    rows: dict[tuple[int, bool], dict[str, Any]] = {}
    for line in metrics.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "step" in row:
            rows[(row["step"], "dev_wer" in row)] = row
    return [rows[key] for key in sorted(rows)]
