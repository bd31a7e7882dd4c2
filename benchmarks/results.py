"""The JSON file of results, and its rendering as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import NAMES, ROOT, BenchmarkError, Table, benchmark
from megaasr import strict_json

SCHEMA = 1
BUSY_CORES = 0.25
"""Results measured while other work kept more cores busy are marked."""
LATEST = ROOT / "benchmarks" / "results" / "latest.json"
DOCS = ROOT / "docs" / "benchmarks.md"
_START, _END = "<!-- results:start -->", "<!-- results:end -->"

Entry = dict[str, Any]
"""One run of one benchmark: date, machine, versions, settings and rows."""


def read(path: Path) -> dict[str, Entry]:
    """Return the entries of a file, by benchmark.

    Raises:
        BenchmarkError: the file cannot be read, or has another schema.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise BenchmarkError(f"{path} has schema {document['schema']}, not {SCHEMA}")
        return {entry["benchmark"]: entry for entry in document["entries"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"{path} holds no results ({error})") from error


def add(path: Path, entry: Entry) -> None:
    """Save an entry, replacing an older one of the same benchmark.

    Raises:
        BenchmarkError: the file exists and holds something else.
    """
    from megaasr.atomic import write_atomically

    entries = read(path) if path.exists() else {}
    entries[entry["benchmark"]] = entry
    ordered = [entries[name] for name in NAMES if name in entries]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = strict_json.dumps({"schema": SCHEMA, "entries": ordered}, indent=1, ensure_ascii=False)
    write_atomically(path, text + "\n")


def render(entries: Mapping[str, Entry]) -> str:
    """Return all entries as Markdown, each with its provenance."""
    return "\n".join(_rendered(entries[name]) for name in NAMES if name in entries)


def write_docs(page: Path, entries: Mapping[str, Entry]) -> None:
    """Replace the results between the markers of a page.

    Raises:
        BenchmarkError: the page is missing, or has no markers.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise BenchmarkError(f"{page} cannot be read ({error.strerror})") from error
    before, start, tail = text.partition(_START)
    _, end, after = tail.partition(_END)
    if not (start and end):
        raise BenchmarkError(f"{page} has no {_START} … {_END}")
    page.write_text(f"{before}{_START}\n\n{render(entries)}\n{_END}{after}", encoding="utf-8")


def _rendered(entry: Entry) -> str:
    table: Table = benchmark(entry["benchmark"]).table(entry)
    parts = [f"### {table.title}", table.note, _markdown(table), _provenance(entry)]
    return "\n\n".join(parts) + "\n"


def _markdown(table: Table) -> str:
    ruler = ["---", *["---:"] * (len(table.head) - 1)]
    return "\n".join(_line(cells) for cells in (table.head, ruler, *table.lines))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _provenance(entry: Entry) -> str:
    machine = entry["machine"]
    names = [f"{package} {version}" for package, version in entry["versions"].items()]
    device = entry["accelerator"]
    facts = [
        f"Measured {entry['measured'][:10]} with `{entry['command']}`",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']:g} GB"
        + (f", {device}" if device else "")
        + f", {machine['system']}",
        ", ".join(names),
    ]
    if entry["model"]:
        model = entry["model"]
        facts.append(
            f"model {model['name']} ({model['weights_mb']:g} MB of weights, {model['weights']})"
        )
    if (machine["busy_cores"] or 0) > BUSY_CORES:
        facts.append(f"**other work kept {machine['busy_cores']:g} cores busy**")
    if entry["quick"]:
        facts.append("**`--quick`: shows that it works, and nothing else**")
    return ". ".join(facts) + "."
