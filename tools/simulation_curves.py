"""Draw the difficulty of the 54 scenarios, and write its table, from a calibration.

python tools/simulation_curves.py docs/simulation/calibration.json
    (the calibration.json of `mega-asr simulate calibrate --literal`)

Writes docs/images/simulation-curves.png and docs/simulation/calibration.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from megaasr.simulate.scenarios import SCENARIOS

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "simulation-curves.png"
TABLE = ROOT / "docs" / "simulation" / "calibration.md"
COLUMNS, ROWS = 9, 6
COLOURS = {"literal": "#bbbbbb", "calibrated": "#0b6e99"}
Rates = dict[tuple[str, float], dict[str, Any]]


def main() -> None:
    """Draw the picture and write the table."""
    report = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    rates = {kind: by_cell(report[kind]["rows"]) for kind in COLOURS if kind in report}
    draw(rates)
    TABLE.write_text(table(report, rates), encoding="utf-8")


def by_cell(rows: list[dict[str, Any]]) -> Rates:
    """Return the rows by scenario and severity."""
    return {(row["scenario"], row["severity"]): row for row in rows}


def draw(rates: dict[str, Rates]) -> None:
    """Draw a small panel for every scenario: error rate over severity, with intervals."""
    figure, axes = plt.subplots(
        ROWS, COLUMNS, figsize=(13, 8.6), sharex=True, sharey=True, layout="constrained"
    )
    for axis, scenario in zip(axes.flat, SCENARIOS, strict=True):
        for kind, table_ in rates.items():
            rows = [row for (name, _), row in table_.items() if name == scenario.name]
            x = [row["severity"] for row in rows]
            y = [100 * row["rate"] for row in rows]
            ends = [row["interval"] or [row["rate"]] * 2 for row in rows]
            errors = [
                [value - 100 * low for value, (low, _) in zip(y, ends, strict=True)],
                [100 * high - value for value, (_, high) in zip(y, ends, strict=True)],
            ]
            axis.errorbar(x, y, errors, color=COLOURS[kind], lw=1.2, elinewidth=0.7, label=kind)
        axis.set_title(scenario.name.replace("+", "\n+"), fontsize=5.5, pad=2)
        axis.set_ylim(0, 100)
        axis.set_xticks([0.2, 0.5, 0.8])
        axis.tick_params(labelsize=6)
        axis.spines[["top", "right"]].set_visible(False)
    if len(rates) > 1:
        axes[0, 0].legend(fontsize=5.5, frameon=False)
    figure.supxlabel("severity", fontsize=8)
    figure.supylabel("word error rate of the judge, %", fontsize=8)
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})
    plt.close(figure)


def table(report: dict[str, Any], rates: dict[str, Rates]) -> str:
    """Return the rates of all scenarios as a Markdown page."""
    provenance = report["provenance"]
    system = provenance["system"]
    lines = [
        "# Error rates of the judge on all 54 scenarios",
        "",
        f"Judge: {system['kind']} {system['model']}, SHA-256 `{system['model_sha256'][:16]}…`, "
        f"{system['decoding']}. Word error rates in per cent with 95 % intervals; a clip counts at "
        f"most 100 %. {provenance['clips']['check']} clips a cell, not those of the fit "
        f"({provenance['clips']['fit']} clips).",
        "",
        f"Made by `{provenance['command']}` and `python tools/simulation_curves.py`.",
        "",
    ]
    for kind, name in (
        ("calibrated", "Calibrated (default)"),
        ("literal", "`--compounds literal`"),
    ):
        if kind in rates:
            lines += [f"## {name}", "", *summary_lines(report[kind]["summary"]), ""]
            lines += [*rows_of(rates[kind]), ""]
    return "\n".join(lines)


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """Return the summary of a check as a list in Markdown."""
    pairs = summary["pairs"]
    outside = {name: ratio for name, ratio in pairs.items() if not 0.8 <= ratio <= 1.3}
    sizes = ", ".join(f"{size}: {100 * rate:.1f}" for size, rate in summary["by_size"].items())
    listed = ", ".join(f"{name} {ratio:.2f}" for name, ratio in outside.items()) or "none"
    return [
        f"- clean {100 * summary['clean']:.1f} %; singles {100 * summary['singles']:.1f} %; "
        f"compounds {100 * summary['compounds']:.1f} %, {summary['ratio']:.2f} times",
        f"- mean by number of conditions: {sizes} %",
        f"- pairs relative to the mean of their conditions: {min(pairs.values()):.2f} to "
        f"{max(pairs.values()):.2f}; outside 0.8 to 1.3: {listed}",
        f"- not rising with severity: {', '.join(summary['not_rising']) or 'none'}",
        "- above 60 % at severity 0.2: "
        f"{', '.join(summary['above_60_percent_at_lowest']) or 'none'}",
    ]


def rows_of(rates: Rates) -> list[str]:
    """Return the rows of all scenarios in Markdown."""
    lines = ["| scenario | 0.2 | 0.5 | 0.8 | positions |", "|---|---|---|---|---|"]
    for scenario in SCENARIOS:
        rows = [row for (name, _), row in rates.items() if name == scenario.name]
        cells = " | ".join(as_text(row) for row in rows)
        positions = ", ".join(f"{row['position']:.2f}" for row in rows)
        lines.append(f"| {scenario.name} | {cells} | {positions} |")
    return lines


def as_text(row: dict[str, Any]) -> str:
    """Return a rate with its interval, in per cent."""
    if row["interval"] is None:
        return f"{100 * row['rate']:.0f}"
    low, high = row["interval"]
    return f"{100 * row['rate']:.0f} ({100 * low:.0f}–{100 * high:.0f})"


if __name__ == "__main__":
    main()
