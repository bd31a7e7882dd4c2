"""What routing is worth on labelled clips, as a page."""

from __future__ import annotations

from html import escape

from megaasr.report.charts import Line, line_chart
from megaasr.report.page import plain_page
from megaasr.report.wording import percent
from megaasr.score.calibration import Calibration

_NAMES = {
    "base": "base branch alone",
    "robust": "robust branch alone",
    "routed": "routed, cross-validated",
    "fitted": "routed, threshold fitted to these clips",
    "default": "routed, threshold in use now",
    "oracle": "oracle: the better branch of each clip",
}


def calibration_page(found: Calibration, model: str, data: str, default: float) -> str:
    """Return the page as HTML.

    Args:
        found: of the fit.
        model: its name.
        data: name of the clips.
        default: the threshold in use.
    """
    low, high = found.threshold_interval
    body = (
        f"<section><h2>Result</h2><p><strong>{escape(found.advice)}</strong></p>"
        f"<p>Best threshold on all clips: {found.threshold:.3f} (95 % {low:.3f} to {high:.3f}; "
        f"in use now: {default:g}).</p>{_table(found)}</section>"
        f"<section><h2>Every threshold</h2>{_sweep(found)}<p>With 0 everything goes to the robust "
        "branch, with 1 to the base. The band is the 95 % interval of each rate; neighbouring "
        "rates move together, so it says little about their difference.</p></section>"
    )
    lead = f"{found.clips} clips, {found.words} words of {data}; {model}"
    return plain_page("Is routing worth it here?", lead, body)


def _table(found: Calibration) -> str:
    rows = []
    for name, title in _NAMES.items():
        low, high = found.intervals[name]
        against = found.comparisons.get(name)
        gain = (
            "–"
            if against is None
            else f"{100 * against.difference:+.2f} ({100 * against.low:+.2f} to "
            f"{100 * against.high:+.2f}), p {against.p_value:.4f}"
        )
        rows.append(
            f"<tr><th scope=row>{title}</th><td>{percent(found.rates[name], 2)}</td>"
            f"<td>{percent(low)} to {percent(high)}</td><td>{gain}</td></tr>"
        )
    return (
        "<div class=scroll><table><caption><span>Error rates, %</span></caption><thead><tr>"
        "<th>who hears</th><th>errors</th><th>95 % interval</th>"
        "<th>routed against it, points</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _sweep(found: Calibration) -> str:
    places = [f"{at:.2f}" for at, *_ in found.sweep]
    step = max(1, len(places) // 10)
    named = [place if at % step == 0 else "" for at, place in enumerate(places)]
    rates = [100 * rate for _, rate, _, _ in found.sweep]
    bands = [(100 * low, 100 * high) for _, _, low, high in found.sweep]
    return line_chart(
        "Error rate of routing, %", "threshold", named, [Line("routed", rates, bands)]
    )
