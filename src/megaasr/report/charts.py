"""Line charts with bands as inline SVG; the page's style sheet sets colours, dashes and marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 12, 44
SERIES = 6
"""Number of line styles; the next as many lines repeat them with hollow marks."""
_MARKS = ("circle", "square", "triangle", "diamond", "cross", "bar")


@dataclass(frozen=True, slots=True)
class ChartLine:
    """One line of a chart.

    Attributes:
        name: name in the legend.
        values: one value per tick of the horizontal axis; None for a missing value.
        bands: low and high end of the band at each tick; None for no band.
    """

    name: str
    values: Sequence[float | None]
    bands: Sequence[tuple[float, float] | None]


def line_chart(title: str, axis: str, ticks: Sequence[str], lines: Sequence[ChartLine]) -> str:
    """Return a chart with its legend as HTML.

    Args:
        title: description of the values, with their unit; also read out by screen readers.
        axis: name of the horizontal axis.
        ticks: labels along the horizontal axis.
        lines: the lines; values are 0 or more.
    """
    top = _ceiling(max((b[1] for line in lines for b in line.bands if b), default=1.0))
    body = [_grid(top), _axis(ticks, axis)]
    body += [_band(line, number, top, len(ticks)) for number, line in enumerate(lines)]
    body += [_line(line, number, top, len(ticks)) for number, line in enumerate(lines)]
    legend = "".join(
        f'<li><svg class="key s{n % SERIES}" viewBox="0 0 36 12" aria-hidden="true">'
        f'<path class="line" d="M0 6H36"/>{_mark(n, 18, 6)}</svg> {escape(line.name)}</li>'
        for n, line in enumerate(lines)
    )
    return (
        f'<figure class="chart"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{"".join(body)}</svg>'
        f'<figcaption>{escape(title)}<ul class="legend">{legend}</ul></figcaption></figure>'
    )


def _ceiling(largest: float) -> float:
    """Return the end of the vertical axis: a round number not below the largest value."""
    for end in (1, 2, 5, 10, 20, 30, 40, 50, 60, 80, 100, 120, 150, 200, 300, 500):
        if largest <= end:
            return float(end)
    return largest


def _x(tick: int, count: int) -> float:
    return _LEFT + (tick + 0.5) * (_WIDTH - _LEFT - _RIGHT) / count


def _y(value: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - value / top * (_HEIGHT - _BOTTOM - _TOP)


def _grid(top: float) -> str:
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = _y(share * top, top)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{share * top:g}</text>'
        )
    return "".join(parts)


def _axis(ticks: Sequence[str], axis: str) -> str:
    labels = "".join(
        f'<text x="{_x(n, len(ticks)):.1f}" y="{_HEIGHT - _BOTTOM + 18}" '
        f'text-anchor="middle">{escape(label)}</text>'
        for n, label in enumerate(ticks)
    )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return (
        f'{labels}<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(axis)}</text>'
    )


def _band(line: ChartLine, number: int, top: float, count: int) -> str:
    bands = [(n, band) for n, band in enumerate(line.bands) if band is not None]
    if not bands:
        return ""
    upper = [f"{_x(n, count):.1f} {_y(high, top):.1f}" for n, (_, high) in bands]
    lower = [f"{_x(n, count):.1f} {_y(low, top):.1f}" for n, (low, _) in reversed(bands)]
    return f'<path class="band s{number % SERIES}" d="M{"L".join([*upper, *lower])}Z"/>'


def _line(line: ChartLine, number: int, top: float, count: int) -> str:
    points = [(n, value) for n, value in enumerate(line.values) if value is not None]
    if not points:
        return ""
    path = "L".join(f"{_x(n, count):.1f} {_y(value, top):.1f}" for n, value in points)
    marks = "".join(_mark(number, _x(n, count), _y(value, top)) for n, value in points)
    return f'<g class="s{number % SERIES}"><path class="line" d="M{path}"/>{marks}</g>'


def _mark(number: int, x: float, y: float) -> str:
    shapes = {
        "circle": f"M{x - 4:.1f} {y:.1f}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z",
        "square": f"M{x - 4:.1f} {y - 4:.1f}h8v8h-8Z",
        "triangle": f"M{x:.1f} {y - 5:.1f}l5 9h-10Z",
        "diamond": f"M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5Z",
        "cross": f"M{x - 4:.1f} {y - 1.5:.1f}h8v3h-8ZM{x - 1.5:.1f} {y - 4:.1f}h3v8h-3Z",
        "bar": f"M{x - 2:.1f} {y - 5:.1f}h4v10h-4Z",
    }
    hollow = " hollow" if number // SERIES % 2 else ""
    return f'<path class="mark{hollow}" d="{shapes[_MARKS[number % SERIES]]}"/>'
