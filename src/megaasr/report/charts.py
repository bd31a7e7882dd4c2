"""Line charts with bands as inline SVG; the page's style sheet sets colours, dashes and marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 12, 44
SERIES = 8
"""Number of colours with their dashes; the next as many lines repeat them with hollow marks."""
_MARKS = ("circle", "square", "triangle", "diamond", "cross", "bar", "dash", "wedge")
MAX_BANDS = 3
"""Number of lines up to which bands are drawn; those of more lines would cover each other."""
_LABEL_WIDTH, _LABEL_HEIGHT, _MAX_LABEL = 8.0, 17.0, 18  # of direct labels, per character and line


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
    if len(lines) > MAX_BANDS:
        lines = [ChartLine(line.name, line.values, [None] * len(line.values)) for line in lines]
    ends = [band[1] for line in lines for band in line.bands if band]
    values = [value for line in lines for value in line.values if value is not None]
    frame = _Frame(len(ticks), _ceiling(max([*ends, *values], default=1.0)), _label_margin(lines))
    body = [_grid(frame), _axis(frame, ticks, axis)]
    body += [_band(line, number, frame) for number, line in enumerate(lines)]
    body += [_line(line, number, frame) for number, line in enumerate(lines)]
    body.append(_labels(lines, frame))
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


@dataclass(frozen=True, slots=True)
class _Frame:
    """The area of a chart: number of ticks, end of the vertical axis, right margin for labels."""

    ticks: int
    top: float
    right: float

    @property
    def end(self) -> float:
        """Right end of the horizontal axis."""
        return _WIDTH - self.right

    def x(self, tick: int) -> float:
        """Return the position of a tick."""
        return _LEFT + (tick + 0.5) * (self.end - _LEFT) / self.ticks

    def y(self, value: float) -> float:
        """Return the position of a value."""
        return _HEIGHT - _BOTTOM - value / self.top * (_HEIGHT - _BOTTOM - _TOP)


def _label_margin(lines: Sequence[ChartLine]) -> float:
    """Return the right margin: a single line needs no label beside it."""
    if len(lines) < 2:
        return _RIGHT
    return _RIGHT + _LABEL_WIDTH * max(len(_short(line.name)) for line in lines)


def _short(name: str) -> str:
    return name if len(name) <= _MAX_LABEL else f"{name[: _MAX_LABEL - 1]}…"


def _labels(lines: Sequence[ChartLine], frame: _Frame) -> str:
    """Return the names of the lines at their right ends, pushed apart where they would overlap."""
    if len(lines) < 2:
        return ""
    ends = []
    for number, line in enumerate(lines):
        points = [(n, value) for n, value in enumerate(line.values) if value is not None]
        if points:
            ends.append((frame.y(points[-1][1]), number, frame.x(points[-1][0])))
    ends.sort()
    heights = [y for y, _, _ in ends]
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + _LABEL_HEIGHT)
    low: float = _HEIGHT - _BOTTOM
    for index in range(len(heights) - 1, -1, -1):
        heights[index] = min(heights[index], low)
        low = heights[index] - _LABEL_HEIGHT
    labels = []
    for (y, number, x), height in zip(ends, heights, strict=True):
        start = frame.end - 4
        leader = f'<path class="leader" d="M{x + 6:.1f} {y:.1f}L{start:.1f} {height:.1f}"/>'
        labels.append(
            f'<g class="s{number % SERIES}">{leader}<text class="label" x="{start + 4:.1f}" '
            f'y="{height + 4:.1f}">{escape(_short(lines[number].name))}</text></g>'
        )
    return "".join(labels)


def _grid(frame: _Frame) -> str:
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = frame.y(share * frame.top)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{frame.end:.1f}"/>')
        parts.append(
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{share * frame.top:g}</text>'
        )
    return "".join(parts)


def _axis(frame: _Frame, ticks: Sequence[str], axis: str) -> str:
    labels = "".join(
        f'<text x="{frame.x(n):.1f}" y="{_HEIGHT - _BOTTOM + 18}" '
        f'text-anchor="middle">{escape(label)}</text>'
        for n, label in enumerate(ticks)
    )
    middle = (_LEFT + frame.end) / 2
    return (
        f'{labels}<text x="{middle:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">'
        f"{escape(axis)}</text>"
    )


def _band(line: ChartLine, number: int, frame: _Frame) -> str:
    bands = [(n, band) for n, band in enumerate(line.bands) if band is not None]
    if not bands:
        return ""
    upper = [f"{frame.x(n):.1f} {frame.y(high):.1f}" for n, (_, high) in bands]
    lower = [f"{frame.x(n):.1f} {frame.y(low):.1f}" for n, (low, _) in reversed(bands)]
    return f'<path class="band s{number % SERIES}" d="M{"L".join([*upper, *lower])}Z"/>'


def _line(line: ChartLine, number: int, frame: _Frame) -> str:
    points = [(n, value) for n, value in enumerate(line.values) if value is not None]
    if not points:
        return ""
    path = "L".join(f"{frame.x(n):.1f} {frame.y(value):.1f}" for n, value in points)
    marks = "".join(_mark(number, frame.x(n), frame.y(value)) for n, value in points)
    return f'<g class="s{number % SERIES}"><path class="line" d="M{path}"/>{marks}</g>'


def _mark(number: int, x: float, y: float) -> str:
    shapes = {
        "circle": f"M{x - 4:.1f} {y:.1f}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z",
        "square": f"M{x - 4:.1f} {y - 4:.1f}h8v8h-8Z",
        "triangle": f"M{x:.1f} {y - 5:.1f}l5 9h-10Z",
        "diamond": f"M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5Z",
        "cross": f"M{x - 4:.1f} {y - 1.5:.1f}h8v3h-8ZM{x - 1.5:.1f} {y - 4:.1f}h3v8h-3Z",
        "bar": f"M{x - 2:.1f} {y - 5:.1f}h4v10h-4Z",
        "dash": f"M{x - 5:.1f} {y - 1.5:.1f}h10v3h-10Z",
        "wedge": f"M{x:.1f} {y + 5:.1f}l-5 -9h10Z",
    }
    hollow = " hollow" if number // SERIES % 2 else ""
    return f'<path class="mark{hollow}" d="{shapes[_MARKS[number % SERIES]]}"/>'
