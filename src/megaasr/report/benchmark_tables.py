"""The tables of a benchmark's report, from a `Result`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from megaasr.report.published import SOURCE, published_results
from megaasr.report.tables import Cell, Table
from megaasr.score.result import FAILURES, OVERALL, Comparison, Group, Rate, Result
from megaasr.score.subsets import CATEGORIES
from megaasr.simulate.conditions import CONDITIONS
from megaasr.simulate.scenarios import CLEAN, find_scenario, scenario_names

SIGNIFICANT = 0.05
"""Differences with a p-value below this are marked."""

DIVISIONS = {
    "severity": "Severity",
    "category": "Category",
    "size": "Conditions in the scenario",
    "language": "Language",
    "snr": "Speech-to-noise ratio",
    "duration": "Length of the clip",
    "route": "Route that was taken",
}
"""Break-downs that are shown as tables, with their titles."""


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


def headline(result: Result, normalizer: str) -> Table:
    """Return a line for each system: rate, interval, comparison with the baseline, failures."""
    (whole,) = result.groups_by(OVERALL)
    several = len(result.systems) > 1
    rows: list[list[Cell | str]] = []
    for system in result.systems:
        rate = whole.rates[system.name][normalizer]
        rtfx = "–" if system.rtfx is None else f"{system.rtfx:.1f}"
        rows.append(
            [
                Cell(system.name, note=_settings(system.settings)),
                Cell(percent(rate.rate, 2), strong=True),
                _interval(rate.interval),
                *(_against(result, system.name, normalizer) if several else []),
                _errors(rate),
                rtfx,
                str(system.failed),
            ]
        )
    level = percent(result.bootstrap.level, 0)
    return Table(
        f"{measure(result).capitalize()} in %, normaliser {normalizer} version "
        f"{result.normalizers[normalizer]}",
        (
            "system",
            "error rate %",
            f"{level} % interval",
            *([f"points against {result.baseline}", "P(better)", "p"] if several else []),
            "sub / del / ins %",
            "RTFx",
            "failed clips",
        ),
        rows,
    )


def division(result: Result, by: str, normalizer: str) -> Table | None:
    """Return the error rate of every part of a division; None if the set was not so divided."""
    groups = result.groups_by(by)
    if not groups:
        return None
    names = [system.name for system in result.systems]
    rows: list[list[Cell | str]] = [
        [group.name, _clips(group), *(_rate_cell(result, group, n, normalizer) for n in names)]
        for group in groups
    ]
    marked = f"; * p below {SIGNIFICANT:g} against {result.baseline}" if len(names) > 1 else ""
    return Table(
        f"{DIVISIONS[by]}: {measure(result)} in % with interval, normaliser {normalizer}{marked}",
        (by, "clips", *names),
        rows,
    )


def failures(result: Result, normalizer: str) -> Table:
    """Return the share of clips with each kind of failure."""
    (whole,) = result.groups_by(OVERALL)
    rows = [
        [kind, *(percent(whole.rates[s.name][normalizer].failures[kind]) for s in result.systems)]
        for kind in FAILURES
    ]
    return Table("Clips with a failure, in %", ("failure", *(s.name for s in result.systems)), rows)


def heat_map(result: Result, system: str, normalizer: str) -> Table | None:
    """Return the error rates of the 54 scenarios: anchors across, modifiers down."""
    found = {group.name: group.rates[system][normalizer] for group in result.groups_by("scenario")}
    if not found:
        return None
    anchors = [c.name for c in CONDITIONS if c.role == "anchor"]
    modifiers = [c.name for c in CONDITIONS if c.role == "modifier"]
    known = {CLEAN, *scenario_names()}
    rows: list[list[Cell | str]] = []
    for size in range(len(modifiers) + 1):
        for some in combinations(modifiers, size):
            cells = [_heat_cell(_name(place, some), found, known) for place in (None, *anchors)]
            rows.append(["+".join(some) or "no modifier", *cells])
    return Table(
        f"{system}: {measure(result)} in % by scenario, normaliser {normalizer}; · is none of "
        "the 54, – has no clips",
        ("modifiers", "no anchor", *anchors),
        rows,
    )


def published(result: Result, normalizer: str) -> Table | None:
    """Return our figures below the published ones, real / simulated; only for the bench."""
    groups = {group.name: group for group in result.groups_by("category")}
    measured = [c for c in CATEGORIES if any(name.startswith(f"{c} /") for name in groups)]
    if result.test_set.kind != "bench" or len(measured) < len(CATEGORIES) // 2:
        return None
    rows: list[list[Cell | str]] = [
        [
            Cell(f"{name} (published)", note=f"{SOURCE}; not measured here"),
            *(f"{cells[c][0]:.2f} / {cells[c][1]:.2f}" for c in CATEGORIES),
        ]
        for name, cells in published_results().items()
    ]
    for system in result.systems:
        cells = [
            " / ".join(
                percent(groups[name].rates[system.name][normalizer].rate, 2)
                if (name := f"{category} / {origin}") in groups
                else "–"
                for origin in ("real", "simulated")
            )
            for category in CATEGORIES
        ]
        rows.append([f"{system.name} (measured here)", *(Cell(c, strong=True) for c in cells)])
    return Table(
        f"Voices-in-the-Wild-Bench, real / simulated, error rates in %; rows marked as published "
        f"are from {SOURCE} and were not measured here",
        ("system", *CATEGORIES),
        rows,
    )


def all_tables(result: Result) -> list[Table]:
    """Return every table but the heat maps, in the order of the report."""
    first = next(iter(result.normalizers))
    tables = [headline(result, name) for name in result.normalizers]
    divisions = (division(result, by, first) for by in DIVISIONS)
    return _present([*tables, published(result, first), *divisions, failures(result, first)])


def readme_tables(result: Result) -> list[Table]:
    """Return the tables that a README has room for."""
    first = next(iter(result.normalizers))
    chosen = (division(result, by, first) for by in ("category", "severity", "size"))
    return _present([headline(result, first), *chosen, failures(result, first)])


def _present(tables: Iterable[Table | None]) -> list[Table]:
    return [table for table in tables if table is not None]


def _name(anchor: str | None, modifiers: tuple[str, ...]) -> str:
    parts = [*([anchor] if anchor else []), *modifiers]
    return find_scenario("+".join(parts)).name if parts else CLEAN


def _heat_cell(name: str, found: dict[str, Rate], known: set[str]) -> Cell:
    if name not in found:
        return Cell("–" if name in known else "·")
    rate = found[name]
    low, high = (percent(one) for one in rate.interval)
    note = f"{name}: {rate.clips} clips, interval {low} to {high} %"
    return Cell(percent(rate.rate, 0), note=note, heat=min(10, round(10 * rate.rate)))


def _rate_cell(result: Result, group: Group, system: str, normalizer: str) -> Cell:
    if system not in group.rates:
        return Cell("–")
    rate = group.rates[system][normalizer]
    found = _find(result, group.by, group.name, system, normalizer)
    star = "*" if found is not None and found.p_value < SIGNIFICANT else ""
    note = "" if found is None else f"{100 * found.difference:+.1f} points, p {found.p_value:.4f}"
    return Cell(f"{percent(rate.rate)}{star} ({_interval(rate.interval)})", note=note)


def _against(result: Result, system: str, normalizer: str) -> list[str]:
    found = _find(result, OVERALL, OVERALL, system, normalizer)
    if found is None:
        return ["–", "–", "–"]
    low, high = (f"{100 * one:+.2f}" for one in found.interval)
    star = "*" if found.p_value < SIGNIFICANT else ""
    return [
        f"{100 * found.difference:+.2f}{star} ({low} to {high})",
        f"{found.probability_of_improvement:.3f}",
        f"{found.p_value:.4f}",
    ]


def _find(result: Result, by: str, name: str, system: str, normalizer: str) -> Comparison | None:
    wanted = (by, name, system, normalizer)
    return next(
        (c for c in result.comparisons if (c.by, c.name, c.system, c.normalizer) == wanted), None
    )


def _interval(interval: tuple[float, float]) -> str:
    return f"{percent(interval[0])} to {percent(interval[1])}"


def _errors(rate: Rate) -> str:
    hits, *errors = rate.counts
    length = max(1, hits + errors[0] + errors[1])
    return " / ".join(percent(one / length) for one in errors)


def _clips(group: Group) -> str:
    counts = {rate.clips for rates in group.rates.values() for rate in rates.values()}
    return "–".join(map(str, sorted({min(counts), max(counts)})))


def _settings(settings: dict[str, str | int | float | bool | None]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items() if value is not None)
