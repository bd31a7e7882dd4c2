"""Options and behaviour that the commands of `mega-asr train` share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from megaasr.train.processes import is_main_process

if TYPE_CHECKING:
    from megaasr.config import Recipe
    from megaasr.train.curves import Panel
    from megaasr.train.run import TrainingResult

R = TypeVar("R", bound="Recipe")

_LIBRARIES = ("accelerate", "peft", "matplotlib")  # some of them are imported late in a run
_NOT_PLOTTED = {"phase", "stage", "step", "steps", "clips"}

OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="Run folder; an existing run is resumed.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a field of the recipe: table.field=value."),
]
TensorboardOption = Annotated[
    bool, typer.Option("--tensorboard", help="Also write the metrics for TensorBoard.")
]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="CPU threads of this process [default: torch's].")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")
]


def recipe_argument(name: str) -> Any:
    """Return the argument of a command that names its recipe.

    Args:
        name: name of the command's shipped recipe.
    """
    return typer.Argument(help=f"TOML file or shipped recipe ({name}).", show_default=False)


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """The arguments of a training command.

    Attributes:
        recipe: TOML file, or name of a shipped recipe.
        output: run folder.
        overrides: fields of the recipe that `--set` overrides.
        threads: CPU threads of this process; None for torch's default.
        dry_run: whether the resolved recipe is printed and nothing trained.
    """

    recipe: str
    output: Path
    overrides: list[str] | None
    threads: int | None = None
    dry_run: bool = False

    def resolve(self, recipe_type: type[R]) -> R | None:
        """Return the recipe; in a dry run, print it and return None.

        Raises:
            UsageError: the recipe does not exist or is not valid.
        """
        from megaasr.config import load_recipe

        recipe = load_recipe(recipe_type, self.recipe, self.overrides or [])
        if self.dry_run:
            typer.echo(recipe.resolved_json())
            return None
        return recipe

    def set_threads(self) -> None:
        """Limit torch to the requested number of threads."""
        import torch

        if self.threads:
            torch.set_num_threads(self.threads)

    def train(
        self,
        trainer_type: Callable[[R, Path, Callable[[dict[str, Any]], None]], Any],
        recipe: R,
        product: str,
        *,
        curves: Sequence[Panel] | None = None,
        tensorboard: bool = False,
    ) -> TrainingResult:
        """Train, and tell the user where the product is.

        Args:
            trainer_type: class of the trainer.
            recipe: resolved recipe.
            product: what is trained, such as `the encoder`.
            curves: panels of the plots in `curves.png`; None for no plots.
            tensorboard: whether the metrics are also written for TensorBoard.

        Raises:
            UsageError: TensorBoard is not installed.
            MegaASRError: the training cannot start or continue.
        """
        self.set_threads()
        on_metrics = metrics_printer(self.output, tensorboard=tensorboard)
        result: TrainingResult = trainer_type(recipe, self.output, on_metrics).train()
        if is_main_process():
            message = f"{result.path}: {product}"
            if curves:
                from megaasr.train.curves import draw_curves

                picture = self.output / "curves.png"
                draw_curves(self.output / "metrics.jsonl", picture, curves)
                message += f"; {picture}: its curves"
            typer.echo(message)
            if result.left_out.problems:
                where = self.output / "clips.json"
                typer.echo(f"{result.left_out.describe()}; all of them: {where}", err=True)
        return result


@contextmanager
def needing_libraries() -> Iterator[None]:
    """Turn a missing library into an error that tells how to install it.

    Raises:
        UsageError: a library that training needs is not installed.
    """
    from megaasr.errors import UsageError

    try:
        for name in _LIBRARIES:
            if find_spec(name) is None:
                raise ModuleNotFoundError(name=name)
        yield
    except ModuleNotFoundError as error:
        extra = "tensorboard" if error.name == "tensorboard" else "train"
        raise UsageError(f"training needs {error.name}: pip install 'megaasr[{extra}]'") from error


def print_row(row: Mapping[str, object]) -> None:
    """Print a row of the metrics."""
    typer.echo("  ".join(f"{name} {value}" for name, value in row.items()))


def metrics_printer(run_dir: Path, *, tensorboard: bool) -> Callable[[Mapping[str, object]], None]:
    """Return a callback that prints each row of the metrics.

    Args:
        run_dir: run folder; files of TensorBoard are written to `tensorboard/` in it, from the
            first row on.
        tensorboard: whether numbers are also written for TensorBoard.

    Raises:
        UsageError: TensorBoard is not installed.
    """
    if not tensorboard or not is_main_process():
        return print_row
    with needing_libraries():
        from torch.utils.tensorboard import SummaryWriter
    writer: SummaryWriter | None = None

    def print_and_plot(row: Mapping[str, object]) -> None:
        nonlocal writer
        print_row(row)
        if writer is None:  # not earlier: a training that cannot start leaves no folder behind
            writer = SummaryWriter(str(run_dir / "tensorboard"))
        stage = "-".join(str(row[name]) for name in ("phase", "stage") if name in row)
        for name, value in row.items():
            if name not in _NOT_PLOTTED and isinstance(value, int | float):
                writer.add_scalar(f"{name}/{stage}" if stage else name, value, row.get("step"))
        writer.flush()

    return print_and_plot
