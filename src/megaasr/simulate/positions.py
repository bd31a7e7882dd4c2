"""Where the parameters of a clip stand in their ranges: a function of scenario and severity.

The parameters of a single condition stand at its severity. Those of a compound stand lower: its
conditions add up, and at the ranges of single conditions nobody could transcribe it. The paper says
that larger compounds use milder parameters, but not which. The positions here were fitted so that
a compound is as hard to an independent recogniser as its conditions are on their own, on average
(`mega-asr simulate calibrate`); the file names recogniser, speech and commit.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

from megaasr.simulate.scenarios import Scenario

POSITIONS_FILE = "compound_positions.json"
"""Name of the file of fitted positions, beside this module."""


class Compounds(StrEnum):
    """Ranges of the parameters."""

    CALIBRATED = "calibrated"
    """Compounds use the fitted positions."""

    LITERAL = "literal"
    """Compounds use the ranges of single conditions, and far_field those of the paper."""


def position(scenario: Scenario, m: float, compounds: Compounds = Compounds.CALIBRATED) -> float:
    """Return the position of the parameters in their ranges, -1 (mild) to 1 (hard).

    Args:
        scenario: the scenario; a compound outside the 54 has the mean position of those among the
            54 with as many conditions.
        m: severity, 0 (easy) to 1 (hard).
        compounds: ranges to use.
    """
    if len(scenario.conditions) < 2 or compounds is Compounds.LITERAL:
        return m
    return position_in(fitted_positions(), scenario, m)


def position_in(table: Mapping[str, Any], scenario: Scenario, m: float) -> float:
    """Return the position of a compound at severity m in a table of positions, -1 to 1.

    Args:
        table: `severities`, `scenarios` and `sizes`, as in the file.
        scenario: a compound.
        m: severity, 0 (easy) to 1 (hard).
    """
    largest = max(int(key) for key in table["sizes"])
    size = str(min(len(scenario.conditions), largest))
    knots = table["scenarios"].get(scenario.name) or table["sizes"][size]
    return interpolate(m, table["severities"], knots)


def interpolate(m: float, severities: list[float], positions: list[float]) -> float:
    """Return the position at severity m, -1 to 1; beyond the ends, the last slope continues.

    Args:
        m: severity, 0 (easy) to 1 (hard).
        severities: severities with a known position, in rising order, at least two.
        positions: their positions.
    """
    index = min(max(bisect_left(severities, m), 1), len(severities) - 1)
    x0, x1 = severities[index - 1], severities[index]
    y0, y1 = positions[index - 1], positions[index]
    return max(-1.0, min(1.0, y0 + (m - x0) * (y1 - y0) / (x1 - x0)))


def fitted_positions() -> dict[str, Any]:
    """Return the content of the file: `severities`, `scenarios`, `sizes` and `provenance`."""
    return _read_file()[0]


def positions_sha256() -> str:
    """Return the hash of the file of fitted positions, in hexadecimal digits."""
    return _read_file()[1]


@cache
def _read_file() -> tuple[dict[str, Any], str]:
    content = (resources.files(__package__) / POSITIONS_FILE).read_bytes()
    return json.loads(content), hashlib.sha256(content).hexdigest()
