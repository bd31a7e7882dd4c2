"""The page of `mega-asr calibrate`: what routing gains on labelled clips."""

from __future__ import annotations

from html import escape

from megaasr.report.charts import ChartLine, line_chart
from megaasr.report.page import plain_page
from megaasr.report.wording import format_interval, percent
from megaasr.score.calibration import RoutingCalibration
from megaasr.score.intervals import TOO_FEW

_SYSTEMS = {
    "base": "base branch alone",
    "robust": "robust branch alone",
    "routed": "routed, cross-validated",
    "fitted": "routed, threshold fitted to these clips",
    "default": "routed, threshold in use now",
    "oracle": "oracle: the better branch of each clip",
}


def calibration_page(calibration: RoutingCalibration, model: str, data: str, default: float) -> str:
    """Return the page as HTML.

    Args:
        calibration: result of the fit.
        model: name of the model.
        data: name of the labelled clips.
        default: the threshold in use now, 0..1.
    """
    body = (
        f"<section><h2>Result</h2><p><strong>{escape(calibration.advice)}</strong></p>"
        f"<p>Best threshold on all clips: {calibration.threshold:.3f} "
        f"({threshold_range(calibration)}; in use now: {default:g}).</p>"
        f"{_table(calibration)}</section>"
        f"<section><h2>Every threshold</h2>{_sweep(calibration)}<p>With 0 everything goes to the "
        "robust branch, with 1 to the base. The band is the 95 % interval of each rate; "
        "neighbouring rates move together, so it says little about their difference.</p></section>"
    )
    lead = (
        f"{calibration.clips} clips ({calibration.blocks} independent), {calibration.words} words "
        f"of {data}; {model}"
    )
    return plain_page("Is routing worth it here?", lead, body)


def threshold_range(calibration: RoutingCalibration) -> str:
    """Return the middle 95 % of the best thresholds in words."""
    if calibration.threshold_interval is None:
        return TOO_FEW
    low, high = calibration.threshold_interval
    return f"95 % {low:.3f} to {high:.3f}"


def _table(calibration: RoutingCalibration) -> str:
    rows = []
    for system, title in _SYSTEMS.items():
        against = calibration.comparisons.get(system)
        gain = "–" if against is None else against.describe()
        rows.append(
            f"<tr><th scope=row>{title}</th><td>{percent(calibration.rates[system], 2)}</td>"
            f"<td>{format_interval(calibration.intervals[system])}</td><td>{gain}</td></tr>"
        )
    return (
        "<div class=scroll><table><caption><span>Error rates, %</span></caption><thead><tr>"
        "<th>system</th><th>errors</th><th>95 % interval</th>"
        "<th>routed against it, points</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _sweep(calibration: RoutingCalibration) -> str:
    thresholds = [f"{threshold:.2f}" for threshold, _, _ in calibration.sweep]
    step = max(1, len(thresholds) // 10)
    ticks = [label if index % step == 0 else "" for index, label in enumerate(thresholds)]
    rates = [100 * rate for _, rate, _ in calibration.sweep]
    bands = [ends and (100 * ends[0], 100 * ends[1]) for _, _, ends in calibration.sweep]
    return line_chart(
        "Error rate of routing, %", "threshold", ticks, [ChartLine("routed", rates, bands)]
    )
