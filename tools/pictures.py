"""Draw the README's pictures: python tools/pictures.py

- `docs/images/conditions.png`: a clean demonstration clip and the same clip under each of the seven
  conditions, as spectrograms.
- `docs/images/degraded-test.png`: error rates of tiny's branches by condition, from
  `docs/results/degraded-test.json`.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("agg")
from matplotlib import pyplot as plt

from megaasr.audio import Waveform, read
from megaasr.score.result import Result
from megaasr.simulate import Simulator

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
CLIP = ROOT / "src" / "megaasr" / "cli" / "demo_clips" / "2-clean.flac"
CONDITIONS = ("noise", "far_field", "obstructed", "echo", "recording", "distortion", "dropout")
SEVERITY = 0.7
SEED = 7
SYSTEMS = {"base": "#9aa5b1", "robust": "#2f6f9f", "routed": "#d9822b"}


def main() -> None:
    """Draw both pictures."""
    draw_conditions(IMAGES / "conditions.png")
    draw_error_rates(IMAGES / "degraded-test.png")


def draw_conditions(path: Path) -> None:
    """Draw the spectrograms of one clip, clean and under every condition."""
    simulator = Simulator()
    clean = read(CLIP, sample_rate=16_000)
    panels: dict[str, Waveform] = {"clean": clean}
    for scenario in CONDITIONS:
        draw = simulator.draw(seed=SEED, scenario=scenario, severity=SEVERITY)
        panels[scenario.replace("_", " ")] = simulator.apply(clean, draw).waveform
    figure, axes = plt.subplots(2, 4, figsize=(9, 3.2), sharex=True, sharey=True)
    for axis, (name, waveform) in zip(axes.flat, panels.items(), strict=True):
        samples = waveform.samples / np.abs(waveform.samples).max() + np.float32(1e-7)
        axis.specgram(samples, NFFT=400, noverlap=240, Fs=16_000, cmap="magma", vmin=-140, vmax=-40)
        axis.set_title(name, fontsize=10)
        axis.set_yticks([0, 4000, 8000], ["0", "4", "8 kHz"], fontsize=8)
        axis.set_xticks([])
    figure.tight_layout(pad=0.6)
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)


def draw_error_rates(path: Path) -> None:
    """Draw error rates with intervals by category for base, robust branch and routing."""
    result = Result.read(ROOT / "docs" / "results" / "degraded-test.json")
    groups = [group for group in result.groups if group.by == "category"]
    figure, axis = plt.subplots(figsize=(10, 3.4))
    width = 0.27
    for i, (system, colour) in enumerate(SYSTEMS.items()):
        rates = [group.rates[system]["bench"] for group in groups]
        heights = np.array([100 * rate.rate for rate in rates])
        # A rate of too few clips has no interval, and no whisker.
        ends = [rate.interval or (rate.rate, rate.rate) for rate in rates]
        low, high = np.array(ends).T * 100
        errors = np.array([heights - low, high - heights])
        positions = np.arange(len(groups)) + (i - 1) * width
        axis.bar(
            positions, heights, width, color=colour, label=system, yerr=errors, error_kw={"lw": 0.8}
        )
    names = [group.name.replace("_", " ").replace(" / simulated", "") for group in groups]
    axis.set_xticks(np.arange(len(groups)), names, fontsize=9)
    axis.set_ylabel("word error rate, %")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, ncols=3, loc="upper left")
    figure.tight_layout(pad=0.6)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
