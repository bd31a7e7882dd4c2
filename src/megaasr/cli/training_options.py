"""What the commands of `mega-asr train` share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

OutputOption = Annotated[Path, typer.Option("--output", "-o", help="The run folder.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="table.field=value, over the recipe.")
]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="Threads of this process [default: torch's].")
]


def is_main_process() -> bool:
    """Whether this process writes the results (torchrun starts several)."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def needing_libraries() -> Iterator[None]:
    """Say how to install what training needs, if it is not there."""
    from megaasr.errors import UsageError

    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(f"training needs {error.name}: pip install 'megaasr[train]'") from error


def print_row(row: Mapping[str, object]) -> None:
    """Print a line of the metrics."""
    typer.echo("  ".join(f"{name} {value}" for name, value in row.items()))
