"""The measured numbers inside documents, each section between its own markers.

python -m megaasr.report.readme docs/results.md docs/training.md     (or: make readme)

`tiny` comes from the shipped model's results; every other section NAME, or "NAME short" with
fewer tables, from `docs/results/NAME.json`, which `--keep NAME=RESULT` takes out of a benchmark's
result; beside it stands the report on it, NAME.html, without the clips.
"""

from __future__ import annotations

import argparse
import re
from importlib import resources
from pathlib import Path

from megaasr.atomic import write_atomically
from megaasr.report.benchmark_page import benchmark_page
from megaasr.report.benchmark_tables import document_tables
from megaasr.report.model_card import read_json, results_section
from megaasr.score.result import Result

RESULTS = "docs/results"
SHIPPED = "tiny"
_SHORT = " short"
_SECTION = re.compile(r"<!-- (?P<name>[a-z0-9-]+(?: short)?):start -->\n")


def sections(text: str) -> list[str]:
    """Return the names of a text's sections, in order."""
    return [found["name"] for found in _SECTION.finditer(text)]


def fill(text: str, name: str, content: str) -> str:
    """Return a text with the section of a name replaced.

    Raises:
        ValueError: the markers are missing.
    """
    start, end = f"<!-- {name}:start -->\n", f"<!-- {name}:end -->"
    before, opened, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not opened or not closed:
        raise ValueError(f"there is no {start.strip()} … {end}")
    return f"{before}{start}{content}\n{end}{after}"


def section(name: str, folder: Path) -> str:
    """Return what belongs into a section; `folder` is the one that has `docs/results`."""
    if name == SHIPPED:
        shipped = resources.files("megaasr.model") / "shipped" / "tiny" / "results.json"
        return results_section(read_json(Path(str(shipped))))
    result = Result.read(folder / RESULTS / f"{kept_as(name)}.json")
    tables = document_tables(result, short=name.endswith(_SHORT))
    return "\n\n".join(table.markdown() for table in tables)


def kept_as(name: str) -> str:
    """Return the name of the result that a section shows."""
    return name.removesuffix(_SHORT)


def page(name: str, folder: Path) -> str:
    """Return the report on a kept result; `folder` is the one that has `docs/results`."""
    return benchmark_page([Result.read(folder / RESULTS / f"{name}.json")])


def main() -> None:
    """Fill every section of the documents."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("documents", type=Path, nargs="+")
    parser.add_argument("--keep", metavar="NAME=RESULT", action="append", default=[])
    options = parser.parse_args()
    documents: list[Path] = options.documents
    for one in options.keep:
        name, _, path = one.partition("=")
        kept = _root(documents[0]) / RESULTS / f"{name}.json"
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, Result.read(path).without_clips().model_dump_json() + "\n")
    for document in documents:
        text = document.read_text(encoding="utf-8")
        for name in sections(text):
            folder = _root(document)
            text = fill(text, name, section(name, folder))
            if name != SHIPPED:
                shown = kept_as(name)
                write_atomically(folder / RESULTS / f"{shown}.html", page(shown, folder))
        write_atomically(document, text)


def _root(document: Path) -> Path:
    """Return the folder that has `docs/results`, above a document; its own if there is none yet."""
    above = document.resolve().parents
    return next((folder for folder in above if (folder / RESULTS).is_dir()), above[0])


if __name__ == "__main__":
    main()
