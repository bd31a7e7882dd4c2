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
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from megaasr import __version__
from megaasr.report import benchmark_tables as tables
from megaasr.report.charts import Line, line_chart
from megaasr.report.clip_cards import cards, most_changed, worst
from megaasr.score.result import Clip, Result

_FAILURES = (
    "empty: nothing was recognised where somebody speaks. hallucination: five inserted words "
    "(eight characters) or more in a row, or almost nothing in common with the reference, or words "
    "where nobody speaks. omission: as many missing in a row. repetition: a phrase goes round and "
    "round, more often than it was said. truncated: the token budget ended the text."
)


def benchmark_page(results: Sequence[Result], audio_root: Path | None = None) -> str:
    """Return the page as HTML.

    Args:
        results: at least one.
        audio_root: where audio paths start; None for where they started when it was measured.
    """
    style, script = _resource("benchmark.css"), _resource("benchmark.js")
    parts = [_part(number, one, audio_root) for number, one in enumerate(results)]
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


def _part(number: int, result: Result, audio_root: Path | None) -> str:
    first = next(iter(result.normalizers))
    root = audio_root or Path(result.test_set.audio_root)
    sections = [
        ("Error rates", "".join(tables.headline(result, n).html() for n in result.normalizers)),
        ("Severity", _severity(result, first)),
        ("Scenarios", _heat_maps(result, first)),
        ("Categories", _categories(result, first)),
        ("Failures", f"{tables.failures(result, first).html()}<p class=soft>{_FAILURES}</p>"),
        ("Break-downs", _divisions(result, first)),
        ("Worst clips", _cards(result, worst(result, first), first, root)),
        ("Most changed clips", _cards(result, most_changed(result, first), first, root)),
        ("All clips", _clips(number, result, first)),
        ("How it was measured", _provenance(result)),
    ]
    shown = [(name, content) for name, content in sections if content]
    links = "".join(f'<li><a href="#{_anchor(number, name)}">{name}</a></li>' for name, _ in shown)
    bodies = "".join(
        f'<section aria-labelledby="{_anchor(number, name)}">'
        f'<h3 id="{_anchor(number, name)}">{name}</h3>{content}</section>'
        for name, content in shown
    )
    return f"<h2>{escape(_heading(result))}</h2><nav><ul>{links}</ul></nav>{bodies}"


def _anchor(number: int, name: str) -> str:
    return f"r{number}-{name.lower().replace(' ', '-')}"


def _heading(result: Result) -> str:
    of = result.test_set
    systems = "one system" if len(result.systems) == 1 else f"{len(result.systems)} systems"
    return f"{of.name}: {of.clips} clips, {of.audio_s / 3600:.2f} h, {systems}"


def _severity(result: Result, normalizer: str) -> str:
    groups = result.groups_by("severity")
    if not groups:
        return ""
    lines = []
    for system in result.systems:
        rates = [group.rates[system.name][normalizer] for group in groups]
        bands = [(100 * rate.interval[0], 100 * rate.interval[1]) for rate in rates]
        lines.append(Line(system.name, [100 * rate.rate for rate in rates], bands))
    title = f"{tables.measure(result).capitalize()} in % by severity; bands are intervals"
    chart = line_chart(title, "severity", [group.name for group in groups], lines)
    table = tables.division(result, "severity", normalizer)
    return chart + (table.html() if table else "")


def _heat_maps(result: Result, normalizer: str) -> str:
    found = [tables.heat_map(result, system.name, normalizer) for system in result.systems]
    return "".join(table.html() for table in found if table is not None)


def _categories(result: Result, normalizer: str) -> str:
    table = tables.published(result, normalizer)
    return table.html() if table else ""


def _divisions(result: Result, normalizer: str) -> str:
    found = [tables.division(result, by, normalizer) for by in tables.DIVISIONS if by != "severity"]
    return "".join(table.html() for table in found if table is not None)


def _cards(result: Result, clips: Sequence[Clip], normalizer: str, root: Path) -> str:
    if not clips:
        return ""
    return f'<div class="cards">{cards(result, clips, normalizer, root)}</div>'


def _clips(number: int, result: Result, normalizer: str) -> str:
    """Return the data of all clips and an empty place that the script fills."""
    rows = [
        {
            "id": clip.id,
            "text": clip.text,
            "group": clip.scenario or clip.category or "",
            "severity": clip.severity,
            "said": [
                {
                    "text": said.text,
                    "wrong": said.errors(normalizer).errors,
                    "of": said.errors(normalizer).reference_length,
                    "failures": [*said.failures, *(["failed"] if said.error else [])],
                    "route": said.route,
                }
                for said in (clip.hypotheses[system.name] for system in result.systems)
            ],
        }
        for clip in result.clips
    ]
    data = {"systems": [system.name for system in result.systems], "clips": rows}
    return (
        f'<div class="clips" data-from="clips-{number}"><p>This list needs JavaScript.</p></div>'
        f'<script type="application/json" id="clips-{number}">{_inert_json(data)}</script>'
    )


def _inert_json(data: object) -> str:
    """Return JSON that no HTML parser can leave."""
    text = json.dumps(data, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


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
