"""The glossary's words are used, and the private ones do not come back."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def counts() -> ModuleType:
    spec = importlib.util.spec_from_file_location("code_counts", ROOT / "tools" / "code_counts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def private_names(counts: ModuleType, folder: str) -> Iterator[str]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        for name, line in counts.bound_names(ast.parse(path.read_text(encoding="utf-8"))):
            if counts.is_private(name):
                yield f"{path.relative_to(ROOT)}:{line}: {name}"


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks", "tools"])
def test_no_name_of_the_old_private_language_is_bound(counts: ModuleType, folder: str) -> None:
    assert list(private_names(counts, folder)) == [], "see docs/glossary.md"


def test_private_names_are_found(counts: ModuleType) -> None:
    code = "def hear(one):\n    found = [said for said in one]\n    self.heard = found\n"
    names = [name for name, _ in counts.bound_names(ast.parse(code)) if counts.is_private(name)]
    assert sorted(names) == ["found", "hear", "heard", "one", "said"]


def test_fragments_are_found(counts: ModuleType) -> None:
    assert counts.is_fragment("of the audio.")
    assert counts.is_fragment("from when on it counts")
    assert not counts.is_fragment("length of the audio in seconds.")
