"""One self-contained page about one or more benchmarks.

The page opens from disk: audio and pictures are embedded, nothing is fetched, and its content
security policy allows only its own style and script, by their hashes. Tables, charts and clips are
shown without the script, which adds the list of all clips and its filters. Texts of models and
file names are escaped everywhere.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from string import Template

from megaasr import __version__, strict_json
from megaasr.report import benchmark_tables as tables
from megaasr.report.charts import MAX_BANDS, ChartLine, line_chart
from megaasr.report.clip_cards import Cards
from megaasr.report.clip_list import clip_list
from megaasr.report.condition_tables import adds_to_break_down, category_table, heat_map
from megaasr.report.sounds import SoundSearch
from megaasr.report.tables import Table
from megaasr.report.wording import measure_name
from megaasr.score.result import Result

_FAILURE_MEANINGS = {
    "empty": "nothing was recognised where somebody speaks",
    "hallucination": (
        "five inserted words (eight characters) or more in a row, or almost nothing in common with "
        "the reference, or words where nobody speaks"
    ),
    "omission": "five missing words (eight characters) or more in a row",
    "repetition": "a phrase is repeated in a loop, more often than in the reference",
    "truncated": "the token budget ended the text",
}
_HOW = (
    "Error rates are all errors over all words (or characters) of the references; 0 is perfect, "
    "lower is better. Points are percentage points, negative where the system is better than the "
    "baseline; P(better) is the share of bootstrap draws in which the system's error rate is lower "
    "than the baseline's."
)


@dataclass(frozen=True, slots=True)
class BehindBaseline:
    """A request to list the clips on which a system makes more errors than the baseline.

    Attributes:
        system: name of the system.
        max_clips: number of clips to list at most.
    """

    system: str
    max_clips: int


def benchmark_page(
    results: Sequence[Result],
    sounds: SoundSearch | None = None,
    behind: BehindBaseline | None = None,
) -> str:
    """Return the page as HTML.

    Args:
        results: one result per test set, at least one.
        sounds: finds the clips' audio, and counts what is missing; None to search below the folder
            recorded in each result.
        behind: request for a list of clips on which a system is behind the baseline; None for no
            such list.

    Raises:
        UsageError: a result does not have the system of `behind`.
    """
    style, script = _resource("benchmark.css"), _resource("benchmark.js")
    parts = [
        _test_set_part(number, result, sounds or SoundSearch(), len(results), behind=behind)
        for number, result in enumerate(results)
    ]
    if len(results) > 1:
        table = tables.overview(results).html()
        parts.insert(0, f"<section><h2>All test sets</h2>{table}</section>")
    names = [result.test_set.name for result in results]
    return Template(_resource("benchmark.html")).substitute(
        title=escape(f"Benchmark: {', '.join(dict.fromkeys(names))}"),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        parts="\n".join(parts),
        version=escape(__version__),
    )


def _test_set_part(
    number: int,
    result: Result,
    sounds: SoundSearch,
    parts: int,
    *,
    behind: BehindBaseline | None,
) -> str:
    normalizer = result.headline_normalizer
    cards = Cards(result, normalizer, sounds, prefix=f"r{number}", parts=parts)
    sections = [
        ("Error rates", _error_rates(result)),
        ("Severity", _curves(result, "severity", normalizer)),
        ("Scenarios", _heat_maps(number, result, normalizer)),
        ("Categories", _categories(result, normalizer)),
        ("Failures", _failures(result, normalizer)),
        ("Routing", _html(tables.routing(result), *tables.regrets(result, normalizer))),
        ("Break-downs", _break_downs(result, normalizer)),
        ("Behind the baseline", cards.behind(behind.system, behind.max_clips) if behind else ""),
        ("Worst clips", cards.worst()),
        ("Most changed clips", cards.most_changed()),
        ("All clips", clip_list(number, result, normalizer)),
        ("How it was measured", _provenance(result)),
    ]
    filled = [(name, content) for name, content in sections if content]
    links = "".join(f'<li><a href="#{_anchor(number, name)}">{name}</a></li>' for name, _ in filled)
    bodies = "".join(
        f'<section aria-labelledby="{_anchor(number, name)}">'
        f'<h3 id="{_anchor(number, name)}">{name}</h3>{content}</section>'
        for name, content in filled
    )
    label = escape(result.test_set.name)
    return (
        f'<h2>{escape(_heading(result))}</h2><nav aria-label="{label}"><ul>{links}</ul></nav>'
        f"{bodies}"
    )


def _anchor(number: int, name: str) -> str:
    return f"r{number}-{name.lower().replace(' ', '-')}"


def _heading(result: Result) -> str:
    test_set = result.test_set
    systems = "one system" if len(result.systems) == 1 else f"{len(result.systems)} systems"
    return f"{test_set.name}: {test_set.clips} clips, {test_set.audio_s / 3600:.2f} h, {systems}"


def _html(*tables: Table | None) -> str:
    return "".join(table.html() for table in tables if table)


def _error_rates(result: Result) -> str:
    return f"<p class=soft>{_HOW}</p>{''.join(t.html() for t in tables.headlines(result))}"


def _failures(result: Result, normalizer: str) -> str:
    kinds = "".join(
        f"<dt>{kind}</dt><dd>{meaning}</dd>" for kind, meaning in _FAILURE_MEANINGS.items()
    )
    return f'{tables.failures(result, normalizer).html()}<dl class="facts">{kinds}</dl>'


def _curves(result: Result, by: str, normalizer: str) -> str:
    """Return a chart and a table of the error rates by a property whose values have an order."""
    groups = result.groups_by(by)
    if not groups:
        return ""
    lines = []
    for system in result.systems:
        rates = [group.rates.get(system.name, {}).get(normalizer) for group in groups]
        values = [None if rate is None else 100 * rate.rate for rate in rates]
        intervals = [None if rate is None else rate.interval for rate in rates]
        bands = [ends and (100 * ends[0], 100 * ends[1]) for ends in intervals]
        lines.append(ChartLine(system.name, values, bands))
    name = tables.BREAK_DOWNS[by].lower()
    level = f"{100 * result.bootstrap.level:g} %"
    title = f"{measure_name(result).capitalize()} in % by {name}"
    if len(lines) <= MAX_BANDS:
        title += f"; bands are {level} intervals"
    chart = line_chart(title, name, [group.name for group in groups], lines)
    table = _html(tables.break_down(result, by, normalizer))
    # Beside a chart there is room for the columns of a few systems.
    arrangement = "pair" if len(result.systems) <= 3 else "stack"
    return f'<div class="{arrangement}">{chart}{table}</div>'


def _heat_maps(number: int, result: Result, normalizer: str) -> str:
    """Return one map per system, of which the script shows one, and a table with all numbers."""
    maps = [(s.name, heat_map(result, s.name, normalizer)) for s in result.systems]
    choices = "".join(
        f'<div class="choice" data-name="{escape(name)}">{table.html()}</div>'
        for name, table in maps
        if table is not None
    )
    if not choices:
        return ""
    table = _html(tables.break_down(result, "scenario", normalizer))
    return (
        f'<div class="choices" data-label="map of" id="r{number}-maps">{choices}</div>'
        f"<details><summary>Every scenario with clips and intervals</summary>{table}</details>"
    )


def _categories(result: Result, normalizer: str) -> str:
    """Return the rates by category once: with intervals, or in the published layout, behind which
    the intervals can be opened."""
    table = _html(tables.break_down(result, "category", normalizer))
    if not adds_to_break_down(result):
        return table
    return (
        f"{_html(category_table(result))}<details><summary>Every category with clips and intervals"
        f"</summary>{table}</details>"
    )


def _break_downs(result: Result, normalizer: str) -> str:
    charts = {by: _curves(result, by, normalizer) for by in ("size", "snr", "duration")}
    plain = {by: _html(tables.break_down(result, by, normalizer)) for by in tables.BREAK_DOWNS}
    return "".join(
        f"<h4>{tables.BREAK_DOWNS[by]}</h4>{content}"
        for by, content in (plain | charts).items()
        if content and by not in {"severity", "scenario", "category"}  # these have sections
    )


def _provenance(result: Result) -> str:
    test_set, bootstrap = result.test_set, result.bootstrap
    least = "" if bootstrap.min_blocks is None else f"; none below {bootstrap.min_blocks} blocks"
    facts = {
        "command": result.command,
        "finished": result.finished,
        "test set": (
            f"{test_set.path} ({test_set.kind}), SHA-256 of its records {test_set.sha256}"
        ),
        "normalisers": ", ".join(f"{name} {v}" for name, v in result.normalizers.items()),
        "intervals": (
            f"{bootstrap.method} over {bootstrap.blocks or 'clips'}, {bootstrap.replications} "
            f"draws, seed {bootstrap.seed}, {100 * bootstrap.level:g} %{least}"
        ),
        "machine": ", ".join(f"{k} {v}" for k, v in result.machine.items() if v is not None),
        "versions": ", ".join(f"{k} {v}" for k, v in result.versions.items()),
    }
    for system in result.systems:
        device = f", on {system.device}" if system.device else ""
        facts[f"system {system.name}"] = (
            f"{system.kind}{device}: {strict_json.dumps(system.settings)}"
        )
    if test_set.unusable:
        facts["clips that could not be read"] = "; ".join(
            f"{clip}: {reason}" for clip, reason in test_set.unusable.items()
        )
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    return f'<dl class="facts">{items}</dl>'


def _resource(name: str) -> str:
    return resources.files("megaasr.report").joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
