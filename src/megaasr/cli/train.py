"""`mega-asr train`: the training stages: `base` from scratch, `sft` of the robust adapter,
`router`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True)

_Output = Annotated[Path, typer.Option("--output", "-o", help="The run folder.")]
_Set = Annotated[
    list[str] | None, typer.Option("--set", help="table.field=value, over the recipe.")
]
_Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads of this process [default: torch's].")
]


@app.callback()
def _stages() -> None:
    """Train a model from a recipe; every stage resumes where it was stopped."""


@app.command()
def base(
    recipe: Annotated[str, typer.Argument(help="TOML file or shipped recipe (train-base-tiny).")],
    output: _Output,
    set_: _Set = None,
    threads: _Threads = None,
    dry_run: Annotated[bool, typer.Option(help="Print the resolved recipe and stop.")] = False,
) -> None:
    """Train a small Qwen3-ASR from scratch on a synthesised corpus.

    Two processes on two cores: torchrun --nproc-per-node 2 -m megaasr train base RECIPE -o RUN
    """
    from megaasr.config import load_recipe
    from megaasr.train.base_recipe import BaseRecipe

    plan = load_recipe(BaseRecipe, recipe, set_ or [])
    if dry_run:
        typer.echo(plan.resolved_json())
        return
    import torch

    with _needing_libraries():
        from megaasr.train.base import BaseTraining
        from megaasr.train.curves import draw_curves
    if threads:
        torch.set_num_threads(threads)
    training = BaseTraining(plan, output, report=_print_row)
    training.train()
    if int(os.environ.get("RANK", "0")) == 0:
        draw_curves(output / "metrics.jsonl", output / "curves.png")
        typer.echo(f"{output / 'model'}: the model; {output / 'curves.png'}: its curves")


@app.command()
def sft(
    recipe: Annotated[str, typer.Argument(help="TOML file or shipped recipe (sft-tiny).")],
    output: _Output,
    set_: _Set = None,
    threads: _Threads = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="A started run is always taken up again.", hidden=True)
    ] = False,
    dry_run: Annotated[
        bool, typer.Option(help="Print the resolved recipe, sizes and steps, and stop.")
    ] = False,
) -> None:
    """Train the robust adapter: A2S-SFT, in the phases of the recipe.

    The same command goes on where a run was stopped, inside any phase and stage. Several
    processes: torchrun --nproc-per-node N -m megaasr train sft RECIPE -o RUN, or accelerate launch
    with a configuration for FSDP or DeepSpeed.
    """
    from megaasr.config import load_recipe
    from megaasr.train.sft_recipe import SFTRecipe

    plan = load_recipe(SFTRecipe, recipe, set_ or [])
    import torch

    with _needing_libraries():
        from megaasr.train.sft import SFTTraining
        from megaasr.train.sft_plan import describe_plan
    if dry_run:
        typer.echo(plan.resolved_json())
        typer.echo(describe_plan(plan))
        return
    if threads:
        torch.set_num_threads(threads)
    adapter = SFTTraining(plan, output, report=_print_row).train()
    if int(os.environ.get("RANK", "0")) == 0:
        typer.echo(f"{adapter}: the adapter, over {plan.model}")


@app.command()
def router(
    recipe: Annotated[str, typer.Argument(help="TOML file or shipped recipe (router-tiny).")],
    output: _Output,
    set_: _Set = None,
    threads: _Threads = None,
    dry_run: Annotated[bool, typer.Option(help="Print the resolved recipe and stop.")] = False,
) -> None:
    """Train a router: clean against degraded audio."""
    from megaasr.config import load_recipe
    from megaasr.train.router_recipe import RouterRecipe

    plan = load_recipe(RouterRecipe, recipe, set_ or [])
    if dry_run:
        typer.echo(plan.resolved_json())
        return
    import torch

    with _needing_libraries():
        from megaasr.train.router import FILE, train_router
    if threads:
        torch.set_num_threads(threads)
    found = train_router(plan, output, report=_print_row)
    _print_row(found)
    typer.echo(f"{output / FILE}: the router")


@contextmanager
def _needing_libraries() -> Iterator[None]:
    """Say how to install what training needs, if it is not there."""
    from megaasr.errors import UsageError

    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(f"training needs {error.name}: pip install 'megaasr[train]'") from error


def _print_row(row: Mapping[str, object]) -> None:
    typer.echo("  ".join(f"{name} {value}" for name, value in row.items()))
