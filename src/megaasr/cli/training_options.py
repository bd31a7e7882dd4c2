"""What the commands of `mega-asr train` share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

_AXES = {"phase", "stage", "step", "steps", "clips"}

OutputOption = Annotated[Path, typer.Option("--output", "-o", help="The run folder.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="table.field=value, over the recipe.")
]
TensorboardOption = Annotated[
    bool, typer.Option("--tensorboard", help="Metrics for TensorBoard too, in the run folder.")
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
        for name in ("accelerate", "peft"):  # some are imported late
            if find_spec(name) is None:
                raise ModuleNotFoundError(name=name)
        yield
    except ModuleNotFoundError as error:
        extra = "tensorboard" if error.name == "tensorboard" else "train"
        raise UsageError(f"training needs {error.name}: pip install 'megaasr[{extra}]'") from error


def print_row(row: Mapping[str, object]) -> None:
    """Print a line of the metrics."""
    typer.echo("  ".join(f"{name} {value}" for name, value in row.items()))


def reporter(output: Path, *, tensorboard: bool) -> Callable[[Mapping[str, object]], None]:
    """Return what is called with each line of the metrics: it prints it, and plots its numbers.

    Args:
        output: the run's folder; TensorBoard's files go to `tensorboard` in it.
        tensorboard: whether there are any.

    Raises:
        UsageError: tensorboard is not installed.
    """
    if not tensorboard or not is_main_process():
        return print_row
    with needing_libraries():
        from torch.utils.tensorboard import SummaryWriter
    board = SummaryWriter(str(output / "tensorboard"))

    def report(row: Mapping[str, object]) -> None:
        print_row(row)
        place = "-".join(str(row[name]) for name in ("phase", "stage") if name in row)
        for name, value in row.items():
            if name not in _AXES and isinstance(value, int | float):
                tag = f"{name}/{place}" if place else name
                board.add_scalar(tag, value, row.get("step"))
        board.flush()

    return report
