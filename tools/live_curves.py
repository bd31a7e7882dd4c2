"""Draw the error rate of live systems over their latency, by severity, and print the table.

python tools/live_curves.py runs/live/stream.json
    (the stream.json of `mega-asr bench CLIPS --stream` on a degraded test set)

Writes docs/images/live-curves.png. Each point is a system: the median of the time from the end of a
word to its confirmation, and the error rate of the final text. The dashed line is the error rate of
`transcribe` on the same recordings.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "live-curves.png"
COLOURS = {"megaasr": "#0b6e99", "released": "#c2571a", "agreement2": "#7a5195"}
MARKERS = {"megaasr": "o", "released": "s", "agreement2": "^"}


def main() -> None:
    """Draw the picture and print the table."""
    systems = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["systems"]
    severities = [name for name in systems[0]["groups"] if name.startswith("severity ")]
    groups = [name for name in ("clean", *severities) if name in systems[0]["groups"]]
    draw(systems, groups)
    print(table(systems, groups))


def draw(systems: list[dict[str, Any]], groups: list[str]) -> None:
    """Draw a panel for each severity."""
    figure, axes = plt.subplots(
        1,
        len(groups),
        figsize=(2.6 * len(groups), 3.2),
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    latest = max(s["groups"][group]["confirmation_s_p50"] for s in systems for group in groups)
    for axis, group in zip(axes, groups, strict=True):
        for kind, colour in COLOURS.items():
            entries = [s["groups"][group] for s in systems if s["kind"] == kind]
            points = sorted((e["confirmation_s_p50"], 100 * e["wer"]) for e in entries)
            if points:
                x, y = zip(*points, strict=True)
                axis.plot(x, y, color=colour, marker=MARKERS[kind], ms=4, lw=1, label=kind)
        offline = 100 * systems[0]["groups"][group]["offline_wer"]
        axis.axhline(offline, color="#888888", lw=0.8, ls="--", label="offline")
        axis.set_title(group, fontsize=8)
        axis.set_ylim(0, 100)
        axis.set_xlim(0, 1.1 * latest)
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(loc="upper left", fontsize=7, frameon=False)
    figure.supxlabel("median time to confirmation, s", fontsize=8)
    figure.supylabel("word error rate, %", fontsize=8)
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})
    plt.close(figure)


def table(systems: list[dict[str, Any]], groups: list[str]) -> str:
    """Return the measures of all clips and the error rates by severity, as a Markdown table."""
    head = ["system", "WER %", "shown s", "confirmed s (p50 / p90)", "unstable words", "computing"]
    lines = [head + groups, ["---"] + ["---:"] * (len(head) + len(groups) - 1)]
    for system in systems:
        entry = system["overall"]
        rates = [f"{100 * system['groups'][group]['wer']:.1f}" for group in groups]
        lines.append(
            [
                system["name"],
                f"{100 * entry['wer']:.1f}",
                f"{entry['emission_s_p50']:.1f}",
                f"{entry['confirmation_s_p50']:.1f} / {entry['confirmation_s_p90']:.1f}",
                f"{entry['unstable_partial_words']:.2f}",
                f"{entry['real_time_factor']:.3f}",
                *rates,
            ]
        )
    offline = systems[0]
    rates = [f"{100 * offline['groups'][group]['offline_wer']:.1f}" for group in groups]
    lines.append(["offline", f"{100 * offline['overall']['offline_wer']:.1f}", *[""] * 4, *rates])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
