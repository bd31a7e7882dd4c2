"""The tables by condition: one square a scenario, and the layout of the published table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from megaasr.report.published import SOURCE, published_results
from megaasr.report.tables import Cell, Table
from megaasr.report.wording import interval, measure, percent
from megaasr.score.result import Group, Rate, Result
from megaasr.score.subsets import CATEGORIES
from megaasr.simulate.conditions import CONDITIONS
from megaasr.simulate.scenarios import CLEAN, find_scenario, scenario_names

PUBLISHED_WITH = "bench"
"""The normaliser whose figures can stand beside the published ones."""
_HEATS = 10


def heat_map(result: Result, system: str, normalizer: str) -> Table | None:
    """Return the error rates of the 54 scenarios: anchors across, modifiers down.

    The strongest colour is the worst rate of all systems (100 % at most), so that their maps can
    be compared.
    """
    groups = result.groups_by("scenario")
    found = {g.name: g.rates[system][normalizer] for g in groups if system in g.rates}
    if not found:
        return None
    top = min(1.0, max(rate[normalizer].rate for g in groups for rate in g.rates.values()))
    anchors = [c.name for c in CONDITIONS if c.role == "anchor"]
    modifiers = [c.name for c in CONDITIONS if c.role == "modifier"]
    rows: list[list[Cell | str]] = []
    for size in range(len(modifiers) + 1):
        for some in combinations(modifiers, size):
            names = [_scenario(place, some) for place in (None, *anchors)]
            cells = [_heat_cell(name, found.get(name), top) for name in names]
            rows.append(["+".join(some) or "no modifier", *cells])
    return Table(
        f"{system}: {measure(result)} in % by scenario, normaliser {normalizer}; the strongest "
        f"colour is {percent(top, 0)} % or more, · is none of the 54, – has no clips",
        ("modifiers", "no anchor", *anchors),
        rows,
    )


def _scenario(anchor: str | None, modifiers: tuple[str, ...]) -> str:
    parts = [*([anchor] if anchor else []), *modifiers]
    return find_scenario("+".join(parts)).name if parts else CLEAN


def _heat_cell(name: str, rate: Rate | None, top: float) -> Cell:
    if rate is None:
        return Cell("–" if name in {CLEAN, *scenario_names()} else "·")
    note = f"{name}: {rate.clips} clips, interval {interval(rate.interval)} %"
    heat = min(_HEATS, round(_HEATS * rate.rate / top)) if top else 0
    digits = 0 if rate.rate >= 0.0995 else 1
    return Cell(percent(rate.rate, digits), note=note, heat=heat)


def categories(result: Result) -> Table | None:
    """Return category by real and simulated, as published; None if there are not two categories.

    The published figures stand above ours only where the test set is the bench and has most of
    its categories, under the normaliser that they were made with.
    """
    groups = {group.name: group for group in result.groups_by("category")}
    measured = {name.partition(" / ")[0] for name in groups}
    beside = (
        result.test_set.kind == "bench"
        and PUBLISHED_WITH in result.normalizers
        and len(measured & set(CATEGORIES)) > len(CATEGORIES) // 2
    )
    shown = [one for one in (CLEAN, *CATEGORIES) if one in measured]
    shown += sorted(measured - set(shown))
    if beside:
        shown = list(CATEGORIES)
    if len(shown) < 2:
        return None
    normalizer = PUBLISHED_WITH if beside else next(iter(result.normalizers))
    ours = _our_rows(result, groups, shown, normalizer, beside)
    caption = f"{measure(result).capitalize()} in % by category, normaliser {normalizer}"
    if any(" / " in name for name in groups):
        caption += ", real / simulated"
    if beside:
        caption += (
            f"; rows marked as published are the results on Voices-in-the-Wild-Bench of {SOURCE}, "
            "not measured here"
        )
    rows = [*_published_rows(), *ours] if beside else ours
    return Table(caption, ("system", *shown), rows)


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
    groups: Mapping[str, Group],
    shown: Sequence[str],
    normalizer: str,
    marked: bool,
) -> list[list[Cell | str]]:
    rows: list[list[Cell | str]] = []
    for system in result.systems:
        rates = {
            name: percent(group.rates[system.name][normalizer].rate, 2)
            for name, group in groups.items()
            if system.name in group.rates
        }
        name = f"{system.name} (measured here)" if marked else system.name
        rows.append([name, *(Cell(_origins(rates, one), strong=marked) for one in shown)])
    return rows


def _origins(rates: Mapping[str, str], category: str) -> str:
    """Return `real / simulated`, or one rate where the origin is not known."""
    names = [f"{category} / {origin}" for origin in ("real", "simulated")]
    if not any(name in rates for name in names):
        return rates.get(category, "–")
    return " / ".join(rates.get(name, "–") for name in names)
