"""Summary of a data set, in numbers and as a picture."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from megaasr import strict_json
from megaasr.atomic import atomic_file, write_atomically
from megaasr.simulate.mix import Mix, group_of
from megaasr.simulate.scenarios import CLEAN, scenario_names

SUMMARY_FILE = "summary.json"
PICTURE_FILE = "summary.png"
BINS = 10
"""Number of bins of the severity histogram, each 0.1 wide; the last includes 1.0."""


class Tally:
    """Counts the clips of a data set.

    Attributes:
        clips: number of clips so far.
        audio_s: total length of these clips in seconds.
    """

    def __init__(self, mix: Mix) -> None:
        self._mix = mix
        self.clips = 0
        self.audio_s = 0.0
        self._clipped_clips = self._clipped_samples = self._skipped = 0
        self._scenarios: Counter[str] = Counter()
        self._bins = [0] * BINS

    def add(self, record: dict[str, Any]) -> None:
        """Count one record of `simulated.jsonl`."""
        self.clips += 1
        self.audio_s += record["duration_s"]
        self._scenarios[record["scenario"]] += 1
        if record["scenario"] != CLEAN:
            self._bins[min(BINS - 1, int(record["severity"] * BINS))] += 1
        self._skipped += '"skipped"' in str(record.get("notes", ""))
        self._clipped_clips += record["clipped_samples"] > 0
        self._clipped_samples += record["clipped_samples"]

    def summary(
        self, *, planned: int, errors: int, too_long: int, without_effect: int = 0
    ) -> dict[str, Any]:
        """Return the content of `summary.json`, which does not depend on how the build ran.

        Args:
            planned: number of clips in the plan.
            errors: number of sources that cannot be used.
            too_long: number of utterances that are too long according to the manifest.
            without_effect: number of clips that are left out because their noise is silent.
        """
        order = {name: index for index, name in enumerate([*scenario_names(), CLEAN])}
        scenarios = sorted(self._scenarios, key=lambda name: (order.get(name, len(order)), name))
        groups = Counter[str]()
        for name, count in self._scenarios.items():
            groups[group_of(self._mix, name)] += count
        return {
            "clips": self.clips,
            "hours": round(self.audio_s / 3600, 4),
            "clips_left_out": planned - self.clips,
            "sources_broken": errors,
            "sources_too_long": too_long,
            "clips_without_effect": without_effect,
            "clips_with_skipped_steps": self._skipped,
            "groups": {group.name: groups[group.name] for group in self._mix.groups},
            "scenarios": {name: self._scenarios[name] for name in scenarios},
            "severity_histogram": self._bins,
            "clips_with_clipping": self._clipped_clips,
            "share_with_clipping": round(self._clipped_clips / max(1, self.clips), 6),
            "clipped_samples": self._clipped_samples,
        }


def write_summary(output: Path, summary: dict[str, Any]) -> str | None:
    """Write `summary.json` and `summary.png`; a picture that is up to date is kept.

    Args:
        output: folder of the data set.
        summary: result of `Tally.summary`.

    Returns:
        The reason why there is no picture; None if there is one.

    Raises:
        OSError: a file cannot be written.
    """
    file, picture = output / SUMMARY_FILE, output / PICTURE_FILE
    text = strict_json.dumps(summary, indent=2) + "\n"
    unchanged = file.is_file() and file.read_text(encoding="utf-8") == text
    problem = None
    if not (unchanged and picture.is_file()):
        try:
            _draw(picture, summary)
        except ModuleNotFoundError as error:
            picture.unlink(missing_ok=True)
            problem = f"{picture} was not drawn: pip install {error.name}, or megaasr[simulate]"
    # After the picture, because an outdated picture is recognised by an outdated summary.
    write_atomically(file, text)
    return problem


def _draw(picture: Path, summary: dict[str, Any]) -> None:
    """Draw the number of clips per scenario and the histogram of severities."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names, counts = list(summary["scenarios"]), list(summary["scenarios"].values())
    figure = Figure(figsize=(12, max(4.0, 0.19 * len(names) + 1.2)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    sizes = [0 if name == CLEAN else name.count("+") + 1 for name in names]
    left.barh(range(len(names)), counts, color=[f"C{size}" for size in sizes])
    left.set_yticks(range(len(names)), names, fontsize=7)
    left.invert_yaxis()
    left.set(xlabel="clips", title="scenarios, coloured by the number of conditions")
    bins = summary["severity_histogram"]
    right.bar([(index + 0.5) / BINS for index in range(BINS)], bins, width=0.9 / BINS)
    right.set(xlim=(0, 1), xlabel="severity (0 easy, 1 hard)", ylabel="degraded clips")
    share = 100 * summary["share_with_clipping"]
    right.set_title(
        f"{summary['clips']} clips, {summary['hours']:.2f} h; {share:.1f} % with clipped samples"
    )
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.set_axisbelow(True)
    with atomic_file(picture) as file:
        figure.savefig(file, dpi=110, format="png")
