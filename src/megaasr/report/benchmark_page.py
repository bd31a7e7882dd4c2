"""One self-contained page about one or several benchmarks.

The page opens from disk: sounds and pictures stand in it, nothing is fetched, and its content
security policy allows only its own style and script, by their hashes. Tables, charts and clips are
there without the script; it adds the list of all clips with its filters. Texts of models and file
names are escaped wherever they stand.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from megaasr import __version__
from megaasr.report import benchmark_tables as tables
from megaasr.report.charts import Line, line_chart
from megaasr.report.clip_cards import Cards
from megaasr.report.clip_list import clip_list
from megaasr.report.condition_tables import categories, heat_map
from megaasr.report.tables import Table
from megaasr.report.wording import measure
from megaasr.score.result import Result

_FAILURES = {
    "empty": "nothing was recognised where somebody speaks",
    "hallucination": (
        "five inserted words (eight characters) or more in a row, or almost nothing in common with "
        "the reference, or words where nobody speaks"
    ),
    "omission": "five missing words (eight characters) or more in a row",
    "repetition": "a phrase goes round and round, more often than it was said",
    "truncated": "the token budget ended the text",
}
_HOW = (
    "Error rates are all errors over all words (or characters) of the references; 0 is perfect, "
    "lower is better. Points are percentage points, negative where the system is better than the "
    "baseline; P(better) is the share of the bootstrap's draws in which it is."
)


@dataclass(frozen=True, slots=True)
class Gap:
    """A list of the clips on which a system is behind the baseline.

    Attributes:
        system: its name.
        clips: most clips in the list.
    """

    system: str
    clips: int


def benchmark_page(
    results: Sequence[Result], audio_root: Path | None = None, gap: Gap | None = None
) -> str:
    """Return the page as HTML.

    Args:
        results: at least one.
        audio_root: where audio paths start; None for where they started when it was measured.
        gap: the list of clips on which a system is behind the baseline; None for none.

    Raises:
        UsageError: the system of the gap is in none of the results.
    """
    style, script = _resource("benchmark.css"), _resource("benchmark.js")
    parts = [
        _part(number, one, audio_root, len(results), gap=gap) for number, one in enumerate(results)
    ]
    if len(results) > 1:
        table = tables.overview(results).html()
        parts.insert(0, f"<section><h2>All test sets</h2>{table}</section>")
    names = [one.test_set.name for one in results]
    return Template(_resource("benchmark.html")).substitute(
        title=escape(f"Benchmark: {', '.join(dict.fromkeys(names))}"),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        parts="\n".join(parts),
        version=escape(__version__),
    )


def _part(
    number: int, result: Result, audio_root: Path | None, parts: int, *, gap: Gap | None
) -> str:
    first = next(iter(result.normalizers))
    root = audio_root or Path(result.test_set.audio_root)
    shown = Cards(result, first, root, f"r{number}", parts)
    sections = [
        ("Error rates", _error_rates(result)),
        ("Severity", _curves(result, "severity", first)),
        ("Scenarios", _heat_maps(number, result, first)),
        ("Categories", _html(categories(result))),
        ("Failures", _failures(result, first)),
        ("Routing", _html(tables.routing(result))),
        ("Break-downs", _divisions(result, first)),
        ("Behind the baseline", shown.behind(gap.system, gap.clips) if gap else ""),
        ("Worst clips", shown.worst()),
        ("Most changed clips", shown.most_changed()),
        ("All clips", clip_list(number, result, first)),
        ("How it was measured", _provenance(result)),
    ]
    found = [(name, content) for name, content in sections if content]
    links = "".join(f'<li><a href="#{_anchor(number, name)}">{name}</a></li>' for name, _ in found)
    bodies = "".join(
        f'<section aria-labelledby="{_anchor(number, name)}">'
        f'<h3 id="{_anchor(number, name)}">{name}</h3>{content}</section>'
        for name, content in found
    )
    label = escape(result.test_set.name)
    return (
        f'<h2>{escape(_heading(result))}</h2><nav aria-label="{label}"><ul>{links}</ul></nav>'
        f"{bodies}"
    )


def _anchor(number: int, name: str) -> str:
    return f"r{number}-{name.lower().replace(' ', '-')}"


def _heading(result: Result) -> str:
    of = result.test_set
    systems = "one system" if len(result.systems) == 1 else f"{len(result.systems)} systems"
    return f"{of.name}: {of.clips} clips, {of.audio_s / 3600:.2f} h, {systems}"


def _html(table: Table | None) -> str:
    return table.html() if table else ""


def _error_rates(result: Result) -> str:
    found = "".join(tables.headline(result, one).html() for one in result.normalizers)
    return f"<p class=soft>{_HOW}</p>{found}"


def _failures(result: Result, normalizer: str) -> str:
    kinds = "".join(f"<dt>{kind}</dt><dd>{means}</dd>" for kind, means in _FAILURES.items())
    return f'{tables.failures(result, normalizer).html()}<dl class="facts">{kinds}</dl>'


def _curves(result: Result, by: str, normalizer: str) -> str:
    """Return a chart of a division whose parts have an order, with its table."""
    groups = result.groups_by(by)
    if not groups:
        return ""
    lines = []
    for system in result.systems:
        rates = [group.rates.get(system.name, {}).get(normalizer) for group in groups]
        values = [None if one is None else 100 * one.rate for one in rates]
        bands = [
            None if one is None else (100 * one.interval[0], 100 * one.interval[1]) for one in rates
        ]
        lines.append(Line(system.name, values, bands))
    name = tables.DIVISIONS[by].lower()
    level = f"{100 * result.bootstrap.level:g} %"
    title = f"{measure(result).capitalize()} in % by {name}; bands are {level} intervals"
    chart = line_chart(title, name, [group.name for group in groups], lines)
    table = _html(tables.division(result, by, normalizer))
    return f'<div class="pair">{chart}{table}</div>'


def _heat_maps(number: int, result: Result, normalizer: str) -> str:
    """Return a map for each system, of which the script shows one, and all numbers in a list."""
    maps = [(s.name, heat_map(result, s.name, normalizer)) for s in result.systems]
    found = "".join(
        f'<div class="choice" data-name="{escape(name)}">{table.html()}</div>'
        for name, table in maps
        if table is not None
    )
    if not found:
        return ""
    every = _html(tables.division(result, "scenario", normalizer))
    return (
        f'<div class="choices" data-label="map of" id="r{number}-maps">{found}</div>'
        f"<details><summary>Every scenario with clips and intervals</summary>{every}</details>"
    )


def _divisions(result: Result, normalizer: str) -> str:
    charts = {by: _curves(result, by, normalizer) for by in ("size", "snr", "duration")}
    plain = {by: _html(tables.division(result, by, normalizer)) for by in tables.DIVISIONS}
    found = {by: content for by, content in (plain | charts).items() if content}
    return "".join(
        f"<h4>{tables.DIVISIONS[by]}</h4>{content}"
        for by, content in found.items()
        if by not in {"severity", "scenario"}  # they have sections of their own
    )


def _provenance(result: Result) -> str:
    of, drawn = result.test_set, result.bootstrap
    facts = {
        "command": result.command,
        "finished": result.finished,
        "test set": f"{of.path} ({of.kind}), SHA-256 of its records {of.sha256}",
        "normalisers": ", ".join(f"{name} {v}" for name, v in result.normalizers.items()),
        "intervals": (
            f"bootstrap over {drawn.blocks or 'clips'}, {drawn.replications} draws, seed "
            f"{drawn.seed}, {100 * drawn.level:g} %; comparisons on the same draws"
        ),
        "machine": ", ".join(f"{k} {v}" for k, v in result.machine.items() if v is not None),
        "versions": ", ".join(f"{k} {v}" for k, v in result.versions.items()),
    }
    for system in result.systems:
        device = f", on {system.device}" if system.device else ""
        facts[f"system {system.name}"] = f"{system.kind}{device}: {json.dumps(system.settings)}"
    if of.unusable:
        facts["clips that could not be read"] = "; ".join(
            f"{clip}: {reason}" for clip, reason in of.unusable.items()
        )
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    return f'<dl class="facts">{items}</dl>'


def _resource(name: str) -> str:
    return resources.files("megaasr.report").joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
