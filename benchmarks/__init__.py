"""Measures megaasr against what one would otherwise use, on the same input in the same run.

Run with `python -m benchmarks`; docs/benchmarks.md says what each benchmark means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

NAMES = (
    "transcribe",
    "startup",
    "memory",
    "decode",
    "simulator",
    "scorer",
    "rewards",
    "routing",
    "released_size",
)
WITHOUT_MODEL = frozenset({"decode", "released_size", "rewards", "routing", "scorer", "simulator"})
ROOT = Path(__file__).resolve().parent.parent

Row = dict[str, Any]
"""One line of results, as it stands in the JSON file."""


class BenchmarkError(Exception):
    """Something that a benchmark needs is missing or failed; the message says what."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a benchmark is told.

    Attributes:
        quick: small inputs and single runs, to see that everything works; no result to quote.
        model: the folder of the model, or None where no chosen benchmark needs one.
        device: `cpu`, `cuda`, `cuda:1` or `mps`.
    """

    quick: bool
    model: Path | None
    device: str

    @property
    def folder(self) -> Path:
        """The model's folder, for benchmarks that need one."""
        if self.model is None:
            raise BenchmarkError("this benchmark needs a model")
        return self.model


@dataclass(frozen=True, slots=True)
class Table:
    """One benchmark's results for reading.

    Attributes:
        title: the heading.
        note: what the columns mean, one paragraph.
        head: names of the columns; the first column holds words, the others numbers.
        lines: the cells.
    """

    title: str
    note: str
    head: Sequence[str]
    lines: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What the module of a benchmark offers.

    Attributes:
        run: measure; returns the settings that were used and the rows.
        table: render an entry of the JSON file.
    """

    run: Callable[[Settings], tuple[Mapping[str, Any], list[Row]]]
    table: Callable[[Mapping[str, Any]], Table]


def benchmark(name: str) -> Benchmark:
    """Import a benchmark, one of `NAMES`; it imports what is heavy when it runs."""
    module = import_module(f"benchmarks.{name}")
    return Benchmark(module.run, module.table)
