"""What a model card says about the robust adapter and the router that go with a base."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from megaasr.score.result import OVERALL, Group, Result

_SECTION = """
## Robust adapter and router

`mega-asr-merged/`: {layers} layers with ranks up to {rank}, {numbers:.2f} million numbers,
{adapter_mb:.1f} MB, in PEFT's layout; it runs as side branches that are switched for each piece,
and refuses other bases. `audio_quality_router/`: {router_numbers:.2f} million numbers,
{router_mb:.1f} MB, in the released layout. Made from {made_from}; the chain of commands is
`mega-asr recipe tiny`, the choices are in docs/training.md.

{measure} in per cent with 95 % bootstrap intervals on {test_set} ({clips} clips, of which
{clean_clips} are not degraded), normaliser `{normalizer}`; `base` hears everything with the base,
`robust` with the adapter, `routed` as the router decides. Measured by
`{command}`.

{table}
"""
_ORDER = ("base", "robust", "routed")


def measured(result: Result) -> dict[str, Any]:
    """Return what a card needs of a benchmark of one model's branches; others may be in it.

    They are the systems `MODEL@base`, `MODEL@robust`, `MODEL`, or those named `base`, `robust`,
    `routed`.

    Raises:
        ValueError: the result has not these three systems.
    """
    systems = [system.name for system in result.systems]
    names = next((names for names in _roles(systems) if set(names.values()) <= set(systems)), None)
    if names is None:
        raise ValueError(
            "a card needs MODEL@base, MODEL@robust and MODEL, or base, robust and routed, not "
            + ", ".join(systems)
        )
    normalizer = next(iter(result.normalizers))
    groups = {
        "all": result.groups_by(OVERALL)[0],
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
        facts: of `mega-asr pack --measured`.
    """
    found = facts["measured"]
    rows = [
        f"| severity | clips | {' | '.join(_ORDER)} |",
        f"|---|---:|{'---:|' * len(_ORDER)}",
    ]
    for name, rates in found["rates"].items():
        cells = [
            f"{100 * rate:.1f} ({100 * low:.1f} to {100 * high:.1f})"
            for rate, low, high in (rates[role] for role in _ORDER)
        ]
        rows.append(f"| {name} | {found['clips'][name]} | {' | '.join(cells)} |")
    return _SECTION.format(
        **facts["adapter"],
        **facts["router"],
        made_from=facts["made_from"],
        measure=found["measure"],
        test_set=found["test_set"],
        clips=found["clips"]["all"],
        clean_clips=found["clips"].get("clean", 0),
        normalizer=found["normalizer"],
        command=found["command"],
        table="\n".join(rows),
    )


def _roles(systems: Sequence[str]) -> Iterator[dict[str, str]]:
    """Return what a model's three systems may be called."""
    yield {role: role for role in _ORDER}
    for model in systems:
        yield {"base": f"{model}@base", "robust": f"{model}@robust", "routed": model}


def _rates(group: Group, names: dict[str, str], normalizer: str) -> dict[str, list[float]]:
    found = {}
    for role in _ORDER:
        rate = group.rates[names[role]][normalizer]
        found[role] = [round(value, 5) for value in (rate.rate, *rate.interval)]
    return found
