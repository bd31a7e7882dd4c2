"""Fill the measured numbers into documents, each section between its own pair of markers.

python -m megaasr.report.readme docs/results.md docs/training.md docs/engines.md  (or: make readme)

The section `tiny` shows the results of the shipped model, `memory` what the released models need.
Every other section NAME, or "NAME short" with fewer tables, shows `docs/results/NAME.json`; beside
that file, the report NAME.html is written.
`--keep NAME=RESULT` copies a benchmark's result there, without its clips.
"""

from __future__ import annotations

import argparse
import re
from importlib import resources
from pathlib import Path

from megaasr.atomic import write_atomically
from megaasr.report.benchmark_page import benchmark_page
from megaasr.report.benchmark_tables import document_tables
from megaasr.report.memory_table import memory_table
from megaasr.report.model_card import read_json, results_section
from megaasr.score.result import Result

RESULTS = "docs/results"
SHIPPED, MEMORY = "tiny", "memory"
_SHORT = " short"
_SECTION = re.compile(r"<!-- (?P<name>[a-z0-9-]+(?: short)?):start -->\n")


def sections(text: str) -> list[str]:
    """Return the names of the sections in a document, in order."""
    return [match["name"] for match in _SECTION.finditer(text)]


def fill(text: str, name: str, content: str) -> str:
    """Return a document with the content of one section replaced.

    Args:
        text: the document.
        name: name of the section.
        content: the new content, Markdown.

    Raises:
        ValueError: the section's markers are missing.
    """
    start, end = f"<!-- {name}:start -->\n", f"<!-- {name}:end -->"
    before, start_marker, tail = text.partition(start)
    _, end_marker, after = tail.partition(end)
    if not start_marker or not end_marker:
        raise ValueError(f"there is no {start.strip()} … {end}")
    return f"{before}{start}{content}\n{end}{after}"


def section(name: str, folder: Path) -> str:
    """Return the content of a section as Markdown.

    Args:
        name: name of the section.
        folder: the folder that holds `docs/results`.
    """
    if name == SHIPPED:
        shipped = resources.files("megaasr.model") / "shipped" / "tiny" / "results.json"
        return results_section(read_json(Path(str(shipped))))
    if name == MEMORY:
        return memory_table()
    result = Result.read(folder / RESULTS / f"{kept_as(name)}.json")
    tables = document_tables(result, short=name.endswith(_SHORT))
    return "\n\n".join(table.markdown() for table in tables)


def kept_as(name: str) -> str:
    """Return the name of the kept result that a section shows."""
    return name.removesuffix(_SHORT)


def page(name: str, folder: Path) -> str:
    """Return the report on a kept result as HTML.

    Args:
        name: name of the result.
        folder: the folder that holds `docs/results`.
    """
    return benchmark_page([Result.read(folder / RESULTS / f"{name}.json")])


def main() -> None:
    """Fill every section of the documents."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("documents", type=Path, nargs="+")
    parser.add_argument("--keep", metavar="NAME=RESULT", action="append", default=[])
    options = parser.parse_args()
    documents: list[Path] = options.documents
    for assignment in options.keep:
        name, _, path = assignment.partition("=")
        target = _root(documents[0]) / RESULTS / f"{name}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, Result.read(path).without_clips().model_dump_json() + "\n")
    for document in documents:
        text = document.read_text(encoding="utf-8")
        for name in sections(text):
            folder = _root(document)
            text = fill(text, name, section(name, folder))
            if name not in (SHIPPED, MEMORY):
                kept = kept_as(name)
                write_atomically(folder / RESULTS / f"{kept}.html", page(kept, folder))
        write_atomically(document, text)


def _root(document: Path) -> Path:
    """Return the nearest parent folder with `docs/results`; the document's own if there is none."""
    parents = document.resolve().parents
    return next((folder for folder in parents if (folder / RESULTS).is_dir()), parents[0])


if __name__ == "__main__":
    main()
