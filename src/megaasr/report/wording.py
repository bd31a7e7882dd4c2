"""How numbers and measures are written in a report."""

from __future__ import annotations

from megaasr.score.result import Result

_MEASURES = {
    "WER": "word error rate",
    "CER": "character error rate",
    "mixed": "error rate (words and characters together)",
}


def measure(result: Result) -> str:
    """Return what the error rates are called."""
    return _MEASURES[result.measure]


def percent(rate: float, digits: int = 1) -> str:
    """Return a rate in per cent, without the sign."""
    return f"{100 * rate:.{digits}f}"


def interval(ends: tuple[float, float]) -> str:
    """Return an interval in per cent."""
    return f"{percent(ends[0])} to {percent(ends[1])}"
