"""Fit the positions of compounds so that a compound is as hard as its conditions are on their own.

`scan` measures compounds at rising positions until they are harder than needed, `fit` finds the
positions of the wanted error rates, and `check` measures all scenarios on other clips.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from megaasr.errors import UsageError
from megaasr.score.difficulty import Cell, CellErrors, CellLog, CellWorker
from megaasr.score.difficulty_fit import fit_positions, mean_positions
from megaasr.score.intervals import bootstrap_interval
from megaasr.simulate.positions import Compounds, fitted_positions, position_in
from megaasr.simulate.scenarios import CLEAN, SCENARIOS, Scenario

SEVERITIES = (0.2, 0.5, 0.8)
SCAN = (-0.8, -0.6, -0.45, -0.3, -0.15, 0.0, 0.15, 0.3, 0.5)
"""Positions at which compounds are measured, in this order; all are close to clean at the first."""

ENOUGH = 1.15
"""A compound is not measured at further positions if its rate exceeds the hardest target by this
factor."""

COPIES = 4
"""Degraded copies of each clip for single conditions, on whose rates all targets depend."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A running calibration.

    Attributes:
        worker: degrades and transcribes.
        log: the measured cells.
        workers: number of processes.
        on_cell: called with every cell when it has been measured.
        scenarios: compounds to fit, together with their conditions; by default all of the 54.
    """

    worker: CellWorker
    log: CellLog
    workers: int
    on_cell: Callable[[Cell], None]
    scenarios: tuple[Scenario, ...] = SCENARIOS

    def fit(self) -> dict[str, Any]:
        """Return the fitted table: `severities`, `scenarios` and `sizes`, see `positions`."""
        targets = self._targets()
        measured = self._scan(targets)
        fitted = {
            name: fit_positions(list(rates), list(rates.values()), targets[name])
            for name, rates in measured.items()
        }
        # Compounds that are not fitted keep the positions that they have.
        kept = fitted_positions()
        scenarios = {**kept["scenarios"], **fitted}
        sizes = dict(kept["sizes"])
        for size in range(2, 6):
            members = [s.name for s in SCENARIOS if len(s.conditions) == size]
            if rows := [scenarios[name] for name in members if name in scenarios]:
                sizes[str(size)] = mean_positions(rows)
        return {"severities": list(SEVERITIES), "scenarios": scenarios, "sizes": sizes}

    def check(
        self, table: Mapping[str, Any], compounds: Compounds = Compounds.CALIBRATED
    ) -> list[dict[str, Any]]:
        """Measure the scenarios on the clips of the part `check`.

        Args:
            table: table of positions.
            compounds: ranges of the parameters.

        Returns:
            For `clean` and every scenario at each severity: `scenario`, `severity`, `position`,
            `rate` and `interval` (95 %, by bootstrap over clips; None with too few clips).
        """
        cells = {("clean", 0.0): Cell(CLEAN, 0.0, compounds, "check")}
        for scenario in self.scenarios:
            for m in SEVERITIES:
                is_single = len(scenario.conditions) == 1
                at_severity = is_single or compounds is Compounds.LITERAL
                position = m if at_severity else position_in(table, scenario, m)
                copies = COPIES if is_single else 1
                cells[scenario.name, m] = Cell(scenario.name, position, compounds, "check", copies)
        self._measure(list(cells.values()))
        return [self._row(name, m, cell) for (name, m), cell in cells.items()]

    def _targets(self) -> dict[str, list[float]]:
        """Return the wanted rate of each compound at each severity: the mean of its conditions."""
        singles = {condition.name for s in self.scenarios for condition in s.conditions}
        cells = {
            (name, m): Cell(name, m, copies=COPIES) for name in sorted(singles) for m in SEVERITIES
        }
        self._measure(list(cells.values()))
        rates = {key: self.log[cell].rate for key, cell in cells.items()}
        return {
            scenario.name: [
                mean(rates[condition.name, m] for condition in scenario.conditions)
                for m in SEVERITIES
            ]
            for scenario in self._compounds
        }

    @property
    def _compounds(self) -> list[Scenario]:
        return [scenario for scenario in self.scenarios if len(scenario.conditions) > 1]

    def _scan(self, targets: Mapping[str, list[float]]) -> dict[str, dict[float, float]]:
        """Return the rates of each compound by position, as far as they are needed."""
        rates: dict[str, dict[float, float]] = {scenario.name: {} for scenario in self._compounds}
        open_ = self._compounds
        for position in SCAN:
            self._measure([Cell(scenario.name, position) for scenario in open_])
            for scenario in open_:
                rates[scenario.name][position] = self.log[Cell(scenario.name, position)].rate
            open_ = [
                scenario
                for scenario in open_
                if rates[scenario.name][position] < ENOUGH * max(targets[scenario.name])
            ]
        return rates

    def _measure(self, cells: list[Cell]) -> None:
        self.log.measure(cells, self.worker, workers=self.workers, on_cell=self.on_cell)

    def _row(self, name: str, severity: float, cell: Cell) -> dict[str, Any]:
        counts: CellErrors = self.log[cell]
        blocks = [str(index // cell.copies) for index in range(len(counts.errors))]
        interval = bootstrap_interval(
            counts.errors, counts.words, seed=self.worker.seed, blocks=blocks
        )
        return {
            "scenario": name,
            "severity": severity,
            "position": round(cell.position, 3),
            "rate": round(counts.rate, 4),
            "interval": None if interval is None else [round(end, 4) for end in interval],
        }


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the rows of a check say about the whole: ratios, order, and the worst.

    Args:
        rows: rows of `Calibration.check`.

    Returns:
        `singles` and `compounds`: mean rates; `ratio`: compounds relative to singles; `by_size`:
        mean rate by number of conditions; `pairs`: rate of each compound of two relative to the
        mean of its conditions, over all severities; `not_rising`: scenarios whose rate falls
        anywhere from one severity to the next; `above_60_percent_at_lowest`: scenarios above 60 %
        at the lowest severity. A ratio to no errors at all is None.
    """
    rates = {(row["scenario"], row["severity"]): row["rate"] for row in rows}
    measured = [scenario for scenario in SCENARIOS if (scenario.name, SEVERITIES[0]) in rates]
    means = {s.name: mean(rates[s.name, m] for m in SEVERITIES) for s in measured}
    by_size = {
        str(size): round(mean(means[s.name] for s in measured if len(s.conditions) == size), 4)
        for size in sorted({len(scenario.conditions) for scenario in measured})
    }
    singles = mean(means[s.name] for s in measured if len(s.conditions) == 1)
    compounds = mean(means[s.name] for s in measured if len(s.conditions) > 1)
    pairs = {
        s.name: _ratio(means[s.name], mean(means[c.name] for c in s.conditions))
        for s in measured
        if len(s.conditions) == 2
    }
    curves = {s.name: [rates[s.name, m] for m in SEVERITIES] for s in measured}
    return {
        "clean": rates["clean", 0.0],
        "singles": round(singles, 4),
        "compounds": round(compounds, 4),
        "ratio": _ratio(compounds, singles),
        "by_size": by_size,
        "pairs": pairs,
        "not_rising": [name for name, curve in curves.items() if sorted(curve) != curve],
        "above_60_percent_at_lowest": [name for name, curve in curves.items() if curve[0] > 0.6],
    }


def _ratio(rate: float, reference: float) -> float | None:
    return round(rate / reference, 3) if reference else None


def with_conditions(compounds: Sequence[Scenario]) -> tuple[Scenario, ...]:
    """Return compounds with the single conditions that they consist of, in the order of the 54.

    Raises:
        UsageError: a scenario is not one of the 47 compounds.
    """
    for scenario in compounds:
        if scenario not in SCENARIOS or len(scenario.conditions) < 2:
            raise UsageError(
                f"{scenario.name} is not one of the 47 compounds, whose positions are fitted; "
                "`mega-asr simulate scenarios` lists them"
            )
    names = {condition.name for scenario in compounds for condition in scenario.conditions}
    names |= {scenario.name for scenario in compounds}
    return tuple(scenario for scenario in SCENARIOS if scenario.name in names)


def max_cells(scenarios: Sequence[Scenario], *, fitted: bool, checks: int) -> int:
    """Return how many cells a calibration measures at most.

    Args:
        scenarios: its scenarios.
        fitted: whether positions are fitted.
        checks: number of checks.
    """
    compounds = sum(len(scenario.conditions) > 1 for scenario in scenarios)
    singles = len(scenarios) - compounds
    fit = compounds * len(SCAN) + singles * len(SEVERITIES)
    return fit * fitted + checks * (1 + len(scenarios) * len(SEVERITIES))
