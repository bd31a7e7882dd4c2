"""The measured numbers of the shipped model inside the README.

python -m megaasr.report.readme README.md     (or: make readme)
"""

from __future__ import annotations

import re
import sys
from importlib import resources
from pathlib import Path
from typing import Any

from megaasr.report.model_card import read_json, results_section

_SECTION = re.compile(r"(<!-- tiny:start -->\n).*?(<!-- tiny:end -->)", flags=re.DOTALL)


def fill_readme(text: str, results: dict[str, Any]) -> str:
    """Return the README with the section between its markers made from the results.

    Raises:
        ValueError: the markers are missing.
    """
    if not _SECTION.search(text):
        raise ValueError("the README has no <!-- tiny:start --> … <!-- tiny:end -->")
    section = results_section(results)
    return _SECTION.sub(lambda found: f"{found[1]}{section}\n{found[2]}", text)


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    shipped = Path(str(resources.files("megaasr.model") / "shipped" / "tiny" / "results.json"))
    filled = fill_readme(readme.read_text(encoding="utf-8"), read_json(shipped))
    readme.write_text(filled, encoding="utf-8")
