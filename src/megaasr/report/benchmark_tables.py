"""The tables of a benchmark's report, made from a `Result`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from megaasr.report.condition_tables import adds_to_break_down, category_table
from megaasr.report.tables import Cell, Table
from megaasr.report.wording import format_interval, measure_name, percent, rate_percent
from megaasr.score.intervals import TOO_FEW
from megaasr.score.regret import BASE, ROBUST, scenario_regrets
from megaasr.score.result import (
    FAILURES,
    OVERALL,
    Comparison,
    Rate,
    Result,
    SettingValue,
    Subgroup,
)
from megaasr.simulate.scenarios import CLEAN

SIGNIFICANT = 0.05
"""Differences with a p-value below this are called significant."""

BREAK_DOWNS = {
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
"""Titles of the break-downs that are shown as tables, by property (`Subgroup.by`)."""

_DOCUMENT_SCENARIOS = 20
_DOCUMENT_BREAK_DOWNS = ("category", "severity", "size", "difficulty", "voice")


def headlines(result: Result) -> list[Table]:
    """Return the headline table of every normaliser; what none of them changes is in the first."""
    first, *others = result.normalizers
    return [headline(result, first), *(headline(result, n, details=False) for n in others)]


def headline(result: Result, normalizer: str, *, details: bool = True) -> Table:
    """Return one row per system: rate, interval, comparison with the baseline, failures.

    Args:
        result: the benchmark.
        normalizer: name of a normaliser.
        details: include what does not depend on the normaliser: speed and failures.
    """
    several = len(result.systems) > 1
    rows: list[list[Cell | str]] = []
    for system in result.systems:
        rate = result.overall.rates[system.name][normalizer]
        rtfx = "–" if system.rtfx is None else f"{system.rtfx:.1f}"
        rows.append(
            [
                Cell(system.name, note=_settings(system.settings)),
                Cell(rate_percent(rate, 2), note=_without_speech(rate), strong=True),
                format_interval(rate.interval),
                *(_against_baseline(result, system.name, normalizer) if several else []),
                _error_shares(rate),
                *([_failing_share(result, system.name)] if result.clips and details else []),
                *([rtfx, str(system.failed)] if details else []),
            ]
        )
    against = [f"points against {result.baseline}", "P(better)", "p", "significant"]
    tested = (
        f"; significant: p below {SIGNIFICANT:g}, two-sided, each comparison by itself"
        if several
        else ""
    )
    return Table(
        f"{measure_name(result).capitalize()} in %, normaliser {normalizer} version "
        f"{result.normalizers[normalizer]}{tested}",
        (
            "system",
            "error rate %",
            f"{100 * result.bootstrap.level:g} % interval",
            *(against if several else []),
            "sub / del / ins %",
            *(["clips with a text failure %"] if result.clips and details else []),
            *(["RTFx", "failed clips"] if details else []),
        ),
        rows,
    )


def break_down(result: Result, by: str, normalizer: str) -> Table | None:
    """Return the error rates of every subgroup by a property; None if there are no subgroups.

    Args:
        result: the benchmark.
        by: the property, one of `BREAK_DOWNS`.
        normalizer: name of a normaliser.
    """
    groups = result.groups_by(by)
    if not groups:
        return None
    names = [system.name for system in result.systems]
    rows: list[list[Cell | str]] = [
        [group.name, _clip_count(group), *(_rate_cell(result, group, n, normalizer) for n in names)]
        for group in groups
    ]
    tested = any(comparison.by == by for comparison in result.comparisons)
    marked = f"; * p below {SIGNIFICANT:g} against {result.baseline}" if tested else ""
    return Table(
        f"{BREAK_DOWNS[by]}: {measure_name(result)} in % with interval, normaliser "
        f"{normalizer}{marked}",
        (by, "clips", *names),
        rows,
    )


def failures(result: Result, normalizer: str) -> Table:
    """Return the share of clips with each kind of failure."""
    systems = [system.name for system in result.systems]
    rates = result.overall.rates
    rows = [
        [kind, *(percent(rates[name][normalizer].failures[kind]) for name in systems)]
        for kind in FAILURES
    ]
    return Table("Clips with a failure, in %", ("failure", *systems), rows)


def routing(result: Result) -> Table | None:
    """Return how well each router tells degraded clips from clean ones; None without a router."""
    if not result.routing:
        return None
    columns = {
        "accuracy": "accuracy",
        "accuracy_severity_0.3": "accuracy without severity below 0.3",
        "precision": "precision",
        "recall": "recall",
        "f1": "F1",
        "auc": "AUC",
    }
    rows = [
        [system, f"{metrics['clips']:g}", *(percent(metrics[key], 2) for key in columns)]
        for system, metrics in result.routing.items()
    ]
    return Table(
        "Routers: degraded clips told from clean ones, in %",
        ("system", "clips", *columns.values()),
        rows,
    )


def regrets(result: Result, normalizer: str) -> list[Table]:
    """Return what each choice between the branches costs by scenario; none without both branches.

    Args:
        result: the benchmark.
        normalizer: name of a normaliser.
    """
    return _present(_regret_table(result, s.name, normalizer) for s in result.systems)


def _regret_table(result: Result, system: str, normalizer: str) -> Table | None:
    scenarios = scenario_regrets(result, system, normalizer)
    if not scenarios:
        return None
    rows: list[list[Cell | str]] = [
        [
            scenario.scenario,
            str(scenario.clips),
            percent(scenario.base),
            percent(scenario.robust),
            percent(scenario.routed),
            "–" if scenario.robust_share is None else percent(scenario.robust_share, 0),
            f"{100 * scenario.regret:+.1f}",
        ]
        for scenario in scenarios
    ]
    degraded = [scenario.regret for scenario in scenarios if scenario.scenario != CLEAN]
    if degraded:
        mean = f"{100 * sum(degraded) / len(degraded):+.1f}"
        rows.append(["mean of the degraded", *[""] * 5, Cell(mean, strong=True)])
    return Table(
        f"{system}: {measure_name(result)} by scenario in %, and regret (points above the better "
        f"branch), normaliser {normalizer}",
        ("scenario", "clips", BASE, ROBUST, system, "clips to robust %", "regret"),
        rows,
    )


def all_tables(result: Result) -> list[Table]:
    """Return every table but the heat maps, in the order of the report."""
    normalizer = result.headline_normalizer
    return _present(
        [
            *headlines(result),
            category_table(result) if adds_to_break_down(result) else None,
            *(break_down(result, by, normalizer) for by in BREAK_DOWNS),
            failures(result, normalizer),
            routing(result),
            *regrets(result, normalizer),
        ]
    )


def document_tables(result: Result, *, short: bool = False) -> list[Table]:
    """Return the tables for a document.

    Args:
        result: the benchmark.
        short: only the tables that a README has room for.
    """
    normalizer = result.headline_normalizer
    break_downs = _DOCUMENT_BREAK_DOWNS[:1] if short else _DOCUMENT_BREAK_DOWNS
    return _present(
        [
            headline(result, normalizer),
            *(break_down(result, by, normalizer) for by in break_downs),
            failures(result, normalizer),
            routing(result),
            *(regrets(result, normalizer) if _is_short(result) else ()),
        ]
    )


def _is_short(result: Result) -> bool:
    """Tell whether a document has room for a table with a row per scenario."""
    return len(result.groups_by("scenario")) <= _DOCUMENT_SCENARIOS


def overview(results: Sequence[Result]) -> Table:
    """Return the headline rates on several test sets, one row per system."""
    rates: dict[str, dict[int, Rate]] = {}  # by system and position of the result
    for index, result in enumerate(results):
        for system, by_normalizer in result.overall.rates.items():
            rates.setdefault(system, {})[index] = by_normalizer[result.headline_normalizer]
    rows: list[list[Cell | str]] = [
        [system, *(_overview_cell(by_result.get(index)) for index in range(len(results)))]
        for system, by_result in rates.items()
    ]
    names = (f"{result.test_set.name} ({measure_name(result)})" for result in results)
    return Table("All test sets: error rate in % with interval", ("system", *names), rows)


def _overview_cell(rate: Rate | None) -> str:
    if rate is None or not rate.is_defined:
        return "–" if rate is None else rate_percent(rate)
    return f"{percent(rate.rate, 2)} ({format_interval(rate.interval)})"


def _without_speech(rate: Rate) -> str:
    """Return how many words were inserted in clips without speech, which the rate counts."""
    if not rate.clips_without_speech:
        return ""
    return (
        f"{rate.inserted_without_speech} words inserted in {rate.clips_without_speech} clips "
        "without speech"
    )


def _present(tables: Iterable[Table | None]) -> list[Table]:
    return [table for table in tables if table is not None]


def _rate_cell(result: Result, group: Subgroup, system: str, normalizer: str) -> Cell:
    if system not in group.rates:
        return Cell("–")
    rate = group.rates[system][normalizer]
    if not rate.is_defined:
        return Cell(rate_percent(rate))
    comparison = _find_comparison(
        result=result, by=group.by, name=group.name, system=system, normalizer=normalizer
    )
    star = note = ""
    if comparison is not None:
        star = "*" if comparison.is_significant(SIGNIFICANT) else ""
        p_value = comparison.p_value
        tested = TOO_FEW if p_value is None else f"p {p_value:.4f}"
        note = f"{100 * comparison.difference:+.1f} points, {tested}"
    return Cell(f"{percent(rate.rate)}{star} ({format_interval(rate.interval)})", note=note)


def _against_baseline(result: Result, system: str, normalizer: str) -> list[str]:
    comparison = _find_comparison(
        result=result, by=OVERALL, name=OVERALL, system=system, normalizer=normalizer
    )
    if comparison is None:
        return ["baseline" if system == result.baseline else "–", "–", "–", "–"]
    difference = f"{100 * comparison.difference:+.2f}"
    better, p_value = comparison.probability_of_improvement, comparison.p_value
    if comparison.interval is None or better is None or p_value is None:
        return [f"{difference} ({TOO_FEW})", "–", "–", TOO_FEW]
    low, high = (f"{100 * end:+.2f}" for end in comparison.interval)
    return [
        f"{difference} ({low} to {high})",
        f"{better:.3f}",
        f"{p_value:.4f}",
        "yes" if comparison.is_significant(SIGNIFICANT) else "no",
    ]


def _failing_share(result: Result, system: str) -> str:
    """Return the share of clips with a failure of any kind, in per cent."""
    failing = sum(bool(clip.hypotheses[system].failures) for clip in result.clips)
    return percent(failing / len(result.clips))


def _find_comparison(
    result: Result, by: str, name: str, system: str, normalizer: str
) -> Comparison | None:
    key = (by, name, system, normalizer)
    return next(
        (c for c in result.comparisons if (c.by, c.name, c.system, c.normalizer) == key), None
    )


def _error_shares(rate: Rate) -> str:
    hits, *errors = rate.counts
    substitutions, deletions, _ = errors
    length = max(1, hits + substitutions + deletions)
    return " / ".join(percent(count / length) for count in errors)


def _clip_count(group: Subgroup) -> str:
    counts = {rate.clips for rates in group.rates.values() for rate in rates.values()}
    return "–".join(map(str, sorted({min(counts), max(counts)})))


def _settings(settings: Mapping[str, SettingValue]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items() if value is not None)
