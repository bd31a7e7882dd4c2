"""The tables by condition: a heat map of the scenarios, and the layout of the published table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from megaasr.report.published import SOURCE, published_results
from megaasr.report.tables import Cell, Table
from megaasr.report.wording import format_interval, measure_name, percent, rate_percent
from megaasr.score.result import Rate, Result, Subgroup
from megaasr.score.subsets import CATEGORIES
from megaasr.simulate.conditions import CONDITIONS
from megaasr.simulate.scenarios import CLEAN, find_scenario, scenario_names

PUBLISHED_NORMALIZER = "bench"
"""The normaliser of the published figures; ours are shown beside them only with the same one."""
_HEATS = 10


def heat_map(result: Result, system: str, normalizer: str) -> Table | None:
    """Return a system's error rates on the 54 scenarios, with anchors across and modifiers down.

    The strongest colour is the highest rate of all systems (100 % at most), so that their maps can
    be compared.

    Args:
        result: the benchmark.
        system: name of the system.
        normalizer: name of a normaliser.

    Returns:
        The table; None if the system has no rates by scenario.
    """
    groups = result.groups_by("scenario")
    rates = {g.name: g.rates[system][normalizer] for g in groups if system in g.rates}
    if not rates:
        return None
    top = min(1.0, max(rate[normalizer].rate for g in groups for rate in g.rates.values()))
    anchors = [c.name for c in CONDITIONS if c.role == "anchor"]
    modifiers = [c.name for c in CONDITIONS if c.role == "modifier"]
    rows: list[list[Cell | str]] = []
    for size in range(len(modifiers) + 1):
        for combination in combinations(modifiers, size):
            names = [_scenario_name(anchor, combination) for anchor in (None, *anchors)]
            cells = [_heat_cell(name, rates.get(name), top) for name in names]
            rows.append(["+".join(combination) or "no modifier", *cells])
    return Table(
        f"{system}: {measure_name(result)} in % by scenario, normaliser {normalizer}; the "
        f"strongest colour is {percent(top, 0)} % or more; ·: not one of the 54 scenarios; "
        "–: no clips",
        ("modifiers", "no anchor", *anchors),
        rows,
    )


def _scenario_name(anchor: str | None, modifiers: tuple[str, ...]) -> str:
    parts = [*([anchor] if anchor else []), *modifiers]
    return find_scenario("+".join(parts)).name if parts else CLEAN


def _heat_cell(name: str, rate: Rate | None, top: float) -> Cell:
    if rate is not None and not rate.is_defined:
        return Cell("n/a", note=f"{name}: {rate_percent(rate)}")
    if rate is None:
        return Cell("–" if name in {CLEAN, *scenario_names()} else "·")
    note = f"{name}: {rate.clips} clips, interval {format_interval(rate.interval)} %"
    heat = min(_HEATS, round(_HEATS * rate.rate / top)) if top else 0
    digits = 0 if rate.rate >= 0.0995 else 1
    return Cell(percent(rate.rate, digits), note=note, heat=heat)


def category_table(result: Result) -> Table | None:
    """Return the rates by category, real and simulated, in the layout of the published table.

    The published figures are shown above ours only if the test set is Voices-in-the-Wild-Bench with
    most of its categories, and then under the normaliser of the published figures.

    Returns:
        The table; None if the test set has fewer than two categories.
    """
    groups = {group.name: group for group in result.groups_by("category")}
    measured = {name.partition(" / ")[0] for name in groups}
    comparable = _is_comparable(result)
    shown = [category for category in (CLEAN, *CATEGORIES) if category in measured]
    shown += sorted(measured - set(shown))
    if comparable:
        shown = list(CATEGORIES)
    if len(shown) < 2:
        return None
    normalizer = PUBLISHED_NORMALIZER if comparable else result.headline_normalizer
    ours = _our_rows(result, groups, shown, normalizer, marked=comparable)
    caption = f"{measure_name(result).capitalize()} in % by category, normaliser {normalizer}"
    if any(" / " in name for name in groups):
        caption += ", real / simulated"
    if comparable:
        caption += (
            f"; rows marked as published are the results on Voices-in-the-Wild-Bench of {SOURCE}, "
            "not measured here"
        )
    rows = [*_published_rows(), *ours] if comparable else ours
    return Table(caption, ("system", *shown), rows)


def adds_to_break_down(result: Result) -> bool:
    """Return whether the table by category shows more than the break-down by category: published
    figures, or real and simulated clips side by side."""
    has_origins = any(" / " in group.name for group in result.groups_by("category"))
    return category_table(result) is not None and (has_origins or _is_comparable(result))


def _is_comparable(result: Result) -> bool:
    """Return whether the published figures may be shown beside ours."""
    measured = {group.name.partition(" / ")[0] for group in result.groups_by("category")}
    return (
        result.test_set.kind == "bench"
        and PUBLISHED_NORMALIZER in result.normalizers
        and len(measured & set(CATEGORIES)) > len(CATEGORIES) // 2
    )


def _published_rows() -> list[list[Cell | str]]:
    return [
        [
            Cell(f"{name} (published)", note=SOURCE),
            *(f"{cells[c][0]:.2f} / {cells[c][1]:.2f}" for c in CATEGORIES),
        ]
        for name, cells in published_results().items()
    ]


def _our_rows(
    result: Result,
    groups: Mapping[str, Subgroup],
    shown: Sequence[str],
    normalizer: str,
    *,
    marked: bool,
) -> list[list[Cell | str]]:
    rows: list[list[Cell | str]] = []
    for system in result.systems:
        rates = {
            name: rate_percent(group.rates[system.name][normalizer], 2)
            for name, group in groups.items()
            if system.name in group.rates
        }
        name = f"{system.name} (measured here)" if marked else system.name
        rows.append([name, *(Cell(_by_origin(rates, c), strong=marked) for c in shown)])
    return rows


def _by_origin(rates: Mapping[str, str], category: str) -> str:
    """Return the rates as `real / simulated`, or a single rate if the origin is unknown."""
    names = [f"{category} / {origin}" for origin in ("real", "simulated")]
    if not any(name in rates for name in names):
        return rates.get(category, "–")
    return " / ".join(rates.get(name, "–") for name in names)
