"""Line charts with bands as inline SVG; colours, dashes and marks come from the page's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 12, 44
SERIES = 6
"""Styles of lines; the next so many lines have hollow marks, further ones repeat."""
_MARKS = ("circle", "square", "triangle", "diamond", "cross", "bar")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart.

    Attributes:
        name: in the legend.
        values: by place along the axis; None where there is none.
        bands: low and high end of the interval at each place.
    """

    name: str
    values: Sequence[float | None]
    bands: Sequence[tuple[float, float] | None]


def line_chart(title: str, axis: str, places: Sequence[str], lines: Sequence[Line]) -> str:
    """Return a chart with its legend.

    Args:
        title: what is shown, with its unit; read to people who cannot see it.
        axis: name of the horizontal axis.
        places: names along it.
        lines: values in the title's unit, from 0 up.
    """
    top = _ceiling(max((b[1] for line in lines for b in line.bands if b), default=1.0))
    body = [_grid(top), _axis(places, axis)]
    body += [_band(line, number, top, len(places)) for number, line in enumerate(lines)]
    body += [_line(line, number, top, len(places)) for number, line in enumerate(lines)]
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


def _ceiling(most: float) -> float:
    """Return the end of the vertical axis: a round number not below the largest value."""
    for step in (1, 2, 5, 10, 20, 30, 40, 50, 60, 80, 100, 120, 150, 200, 300, 500):
        if most <= step:
            return float(step)
    return most


def _x(place: int, count: int) -> float:
    return _LEFT + (place + 0.5) * (_WIDTH - _LEFT - _RIGHT) / count


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


def _axis(places: Sequence[str], axis: str) -> str:
    marks = "".join(
        f'<text x="{_x(n, len(places)):.1f}" y="{_HEIGHT - _BOTTOM + 18}" '
        f'text-anchor="middle">{escape(name)}</text>'
        for n, name in enumerate(places)
    )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return f'{marks}<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(axis)}</text>'


def _band(line: Line, number: int, top: float, count: int) -> str:
    found = [(n, band) for n, band in enumerate(line.bands) if band is not None]
    if not found:
        return ""
    upper = [f"{_x(n, count):.1f} {_y(high, top):.1f}" for n, (_, high) in found]
    lower = [f"{_x(n, count):.1f} {_y(low, top):.1f}" for n, (low, _) in reversed(found)]
    return f'<path class="band s{number % SERIES}" d="M{"L".join([*upper, *lower])}Z"/>'


def _line(line: Line, number: int, top: float, count: int) -> str:
    found = [(n, value) for n, value in enumerate(line.values) if value is not None]
    if not found:
        return ""
    path = "L".join(f"{_x(n, count):.1f} {_y(value, top):.1f}" for n, value in found)
    marks = "".join(_mark(number, _x(n, count), _y(value, top)) for n, value in found)
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
