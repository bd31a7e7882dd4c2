"""The section of a model card about the robust adapter and the router of a base."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from megaasr.report.wording import format_interval
from megaasr.score.result import Result, Subgroup

_SECTION = """
## Robust adapter and router

`mega-asr-merged/`: {layers} layers with ranks up to {rank}, {numbers:.2f} million numbers,
{adapter_mb:.1f} MB, in PEFT's layout; it runs as side branches that are switched for each chunk,
and refuses other bases. `audio_quality_router/`: {router_numbers:.2f} million numbers,
{router_mb:.1f} MB, in the released layout. Made from {made_from}; the chain of commands is
`mega-asr recipe tiny`, the choices are in docs/training.md.

{measure} in per cent with 95 % bootstrap intervals on {test_set} ({clips} clips, of which
{clean_clips} are not degraded), normaliser `{normalizer}`; `base` decodes everything with the base,
`robust` with the adapter, `routed` as the router decides. Measured by
`{command}`.

{table}
"""
_ORDER = ("base", "robust", "routed")


def branch_rates(result: Result) -> dict[str, Any]:
    """Return the rates of one model's branches from a benchmark, for the card.

    The benchmark has the systems `MODEL@base`, `MODEL@robust` and `MODEL`, or systems with the
    names `base`, `robust` and `routed`; it may have others.

    Raises:
        ValueError: the benchmark lacks these systems.
    """
    systems = [system.name for system in result.systems]
    candidates = _system_names(systems)
    names = next((names for names in candidates if set(names.values()) <= set(systems)), None)
    if names is None:
        raise ValueError(
            "a card needs MODEL@base, MODEL@robust and MODEL, or base, robust and routed, not "
            + ", ".join(systems)
        )
    normalizer = result.headline_normalizer
    groups = {
        "all": result.overall,
        **{group.name: group for group in result.groups_by("severity")},
    }
    return {
        "command": result.command,
        "test_set": result.test_set.name,
        "measure": "Word error rate" if result.measure == "WER" else "Error rate",
        "normalizer": normalizer,
        "rates": {name: _rates(group, names, normalizer) for name, group in groups.items()},
        "clips": {
            name: group.rates[names["base"]][normalizer].clips for name, group in groups.items()
        },
    }


def parts_section(facts: dict[str, Any]) -> str:
    """Return the section of a card as Markdown.

    Args:
        facts: the content of `parts.json`, which `mega-asr pack --measured` writes.
    """
    measured = facts["measured"]
    rows = [
        f"| severity | clips | {' | '.join(_ORDER)} |",
        f"|---|---:|{'---:|' * len(_ORDER)}",
    ]
    for name, rates in measured["rates"].items():
        cells = [
            f"{100 * rate:.1f} ({format_interval(None if low is None else (low, high))})"
            for rate, low, high in (rates[system] for system in _ORDER)
        ]
        rows.append(f"| {name} | {measured['clips'][name]} | {' | '.join(cells)} |")
    return _SECTION.format(
        **facts["adapter"],
        **facts["router"],
        made_from=facts["made_from"],
        measure=measured["measure"],
        test_set=measured["test_set"],
        clips=measured["clips"]["all"],
        clean_clips=measured["clips"].get("clean", 0),
        normalizer=measured["normalizer"],
        command=measured["command"],
        table="\n".join(rows),
    )


def _system_names(systems: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield the possible names of base, robust and routed system."""
    yield {system: system for system in _ORDER}
    for model in systems:
        yield {"base": f"{model}@base", "robust": f"{model}@robust", "routed": model}


def _rates(
    group: Subgroup, names: dict[str, str], normalizer: str
) -> dict[str, list[float | None]]:
    """Return rate, low and high end of the interval of each system; no ends with too few clips."""
    rates: dict[str, list[float | None]] = {}
    for system in _ORDER:
        rate = group.rates[names[system]][normalizer]
        ends = rate.interval or (None, None)
        rates[system] = [None if value is None else round(value, 5) for value in (rate.rate, *ends)]
    return rates
