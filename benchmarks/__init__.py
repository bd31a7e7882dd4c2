"""Speed and memory of megaasr beside its alternatives, on the same input in the same run.

Run with `python -m benchmarks`; docs/benchmarks.md explains each benchmark.
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
    "consensus",
    "simulator",
    "simulator_defaults",
    "scorer",
    "rewards",
    "routing",
    "released_size",
    "gpu",
    "streaming",
)
WITHOUT_MODEL = frozenset(
    {
        "decode",
        "gpu",
        "released_size",
        "rewards",
        "routing",
        "scorer",
        "simulator",
        "simulator_defaults",
        "streaming",
    }
)
ON_DEVICE = frozenset({"gpu", "released_size"})
"""Benchmarks without a model that run on the device all the same."""
ROOT = Path(__file__).resolve().parent.parent

Row = dict[str, Any]
"""One row of results, as it is saved in the JSON file."""


class BenchmarkError(Exception):
    """A benchmark cannot run: something that it needs is missing or failed."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a benchmark runs.

    Attributes:
        quick: small inputs and single runs, to check that it works; no results to quote.
        model: folder of the model; None if no selected benchmark needs one.
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
    """The results of one benchmark as a table.

    Attributes:
        title: heading of the table.
        note: one paragraph that explains the columns.
        head: names of the columns; the first column holds text, the others hold numbers.
        lines: the rows, each with as many cells as there are columns.
    """

    title: str
    note: str
    head: Sequence[str]
    lines: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The interface of a benchmark's module.

    Attributes:
        run: measures; returns the settings that were used and the rows of results.
        table: renders an entry of the JSON file.
    """

    run: Callable[[Settings], tuple[Mapping[str, Any], list[Row]]]
    table: Callable[[Mapping[str, Any]], Table]


def benchmark(name: str) -> Benchmark:
    """Import a benchmark, one of `NAMES`; heavy imports happen only when it runs."""
    module = import_module(f"benchmarks.{name}")
    return Benchmark(module.run, module.table)
