"""The tables of a benchmark's report, from a `Result`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from megaasr.report.condition_tables import categories
from megaasr.report.tables import Cell, Table
from megaasr.report.wording import interval, measure, percent
from megaasr.score.result import FAILURES, OVERALL, Comparison, Group, Rate, Result

SIGNIFICANT = 0.05
"""Differences with a p-value below this are called significant."""

DIVISIONS = {
    "severity": "Severity",
    "category": "Category",
    "size": "Conditions in the scenario",
    "scenario": "Scenario",
    "difficulty": "Error rate of the graded clip (mega-asr grade)",
    "voice": "Voice",
    "language": "Language",
    "snr": "Speech-to-noise ratio",
    "duration": "Length of the clip",
    "route": "Route that was taken",
}
"""Break-downs that are shown as tables, with their titles."""

_DOCUMENT_DIVISIONS = ("category", "severity", "size", "difficulty", "voice")


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
                interval(rate.interval),
                *(_against(result, system.name, normalizer) if several else []),
                _errors(rate),
                *([_failing(result, system.name)] if result.clips else []),
                rtfx,
                str(system.failed),
            ]
        )
    against = [f"points against {result.baseline}", "P(better)", "p", "significant"]
    tested = (
        f"; significant: p below {SIGNIFICANT:g}, two-sided, each comparison by itself"
        if several
        else ""
    )
    return Table(
        f"{measure(result).capitalize()} in %, normaliser {normalizer} version "
        f"{result.normalizers[normalizer]}{tested}",
        (
            "system",
            "error rate %",
            f"{100 * result.bootstrap.level:g} % interval",
            *(against if several else []),
            "sub / del / ins %",
            *(["clips with a failure %"] if result.clips else []),
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
    tested = any(found.by == by for found in result.comparisons)
    marked = f"; * p below {SIGNIFICANT:g} against {result.baseline}" if tested else ""
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


def routing(result: Result) -> Table | None:
    """Return how well each router tells degraded clips from clean ones; None without a router."""
    if not result.routing:
        return None
    measures = ("accuracy", "accuracy_severity_0.3", "precision", "recall", "f1", "auc")
    rows = [
        [name, f"{found['clips']:g}", *(percent(found[one], 2) for one in measures)]
        for name, found in result.routing.items()
    ]
    names = ("accuracy", "accuracy without severity below 0.3", "precision", "recall", "F1", "AUC")
    return Table(
        "Routers: degraded clips told from clean ones, in %", ("system", "clips", *names), rows
    )


def all_tables(result: Result) -> list[Table]:
    """Return every table but the heat maps, in the order of the report."""
    first = next(iter(result.normalizers))
    tables = [headline(result, name) for name in result.normalizers]
    divisions = (division(result, by, first) for by in DIVISIONS)
    return _present(
        [*tables, categories(result), *divisions, failures(result, first), routing(result)]
    )


def document_tables(result: Result, *, short: bool = False) -> list[Table]:
    """Return the tables that a document has room for; if `short`, those that a README has."""
    first = next(iter(result.normalizers))
    chosen = (division(result, by, first) for by in _DOCUMENT_DIVISIONS[: 1 if short else None])
    return _present([headline(result, first), *chosen, failures(result, first), routing(result)])


def _present(tables: Iterable[Table | None]) -> list[Table]:
    return [table for table in tables if table is not None]


def _rate_cell(result: Result, group: Group, system: str, normalizer: str) -> Cell:
    if system not in group.rates:
        return Cell("–")
    rate = group.rates[system][normalizer]
    found = _find(result, group.by, group.name, system, normalizer)
    star = "*" if found is not None and found.p_value < SIGNIFICANT else ""
    note = "" if found is None else f"{100 * found.difference:+.1f} points, p {found.p_value:.4f}"
    return Cell(f"{percent(rate.rate)}{star} ({interval(rate.interval)})", note=note)


def _against(result: Result, system: str, normalizer: str) -> list[str]:
    found = _find(result, OVERALL, OVERALL, system, normalizer)
    if found is None:
        return ["baseline" if system == result.baseline else "–", "–", "–", "–"]
    low, high = (f"{100 * one:+.2f}" for one in found.interval)
    return [
        f"{100 * found.difference:+.2f} ({low} to {high})",
        f"{found.probability_of_improvement:.3f}",
        f"{found.p_value:.4f}",
        "yes" if found.p_value < SIGNIFICANT else "no",
    ]


def _failing(result: Result, system: str) -> str:
    """Return the share of clips that show a failure of any kind."""
    failing = sum(bool(clip.hypotheses[system].failures) for clip in result.clips)
    return percent(failing / len(result.clips))


def _find(result: Result, by: str, name: str, system: str, normalizer: str) -> Comparison | None:
    wanted = (by, name, system, normalizer)
    return next(
        (c for c in result.comparisons if (c.by, c.name, c.system, c.normalizer) == wanted), None
    )


def _errors(rate: Rate) -> str:
    hits, *errors = rate.counts
    length = max(1, hits + errors[0] + errors[1])
    return " / ".join(percent(one / length) for one in errors)


def overview(results: Sequence[Result]) -> Table:
    """Return the headline rates of several test sets, a line for each system."""
    rates: dict[str, dict[int, Rate]] = {}
    for at, result in enumerate(results):
        (whole,) = result.groups_by(OVERALL)
        for system, by_normalizer in whole.rates.items():
            rates.setdefault(system, {})[at] = by_normalizer[next(iter(result.normalizers))]
    rows: list[list[Cell | str]] = [
        [
            name,
            *(
                f"{percent(of[at].rate, 2)} ({interval(of[at].interval)})" if at in of else "–"
                for at in range(len(results))
            ),
        ]
        for name, of in rates.items()
    ]
    names = (f"{one.test_set.name} ({measure(one)})" for one in results)
    return Table("All test sets: error rate in % with interval", ("system", *names), rows)


def _clips(group: Group) -> str:
    counts = {rate.clips for rates in group.rates.values() for rate in rates.values()}
    return "–".join(map(str, sorted({min(counts), max(counts)})))


def _settings(settings: dict[str, str | int | float | bool | None]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items() if value is not None)
