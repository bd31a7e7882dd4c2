"""How numbers and measures are written in a report."""

from __future__ import annotations

from megaasr.score.intervals import TOO_FEW
from megaasr.score.result import Rate, Result

_MEASURES = {
    "WER": "word error rate",
    "CER": "character error rate",
    "mixed": "error rate (words and characters together)",
}


def measure_name(result: Result) -> str:
    """Return the name of a result's error rate, in lower case."""
    return _MEASURES[result.measure]


def percent(rate: float, digits: int = 1) -> str:
    """Return a rate (0..1) in per cent, without the sign.

    Args:
        rate: the rate.
        digits: digits after the point.
    """
    return f"{100 * rate:.{digits}f}"


def rate_percent(rate: Rate, digits: int = 1) -> str:
    """Return an error rate in per cent, or `n/a` with the errors if the references have no words.

    Args:
        rate: the rate of some clips.
        digits: digits after the point.
    """
    if not rate.is_defined:
        return f"n/a, {rate.counts[3]} inserted"
    return percent(rate.rate, digits)


def format_interval(interval: tuple[float, float] | None) -> str:
    """Return both ends of an interval of rates (0..1) in per cent; None: too few clips for one."""
    if interval is None:
        return TOO_FEW
    low, high = interval
    return f"{percent(low)} to {percent(high)}"
