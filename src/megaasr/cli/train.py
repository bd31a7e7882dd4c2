"""`mega-asr train`: `base` from scratch, `sft` and `rl` of the robust adapter, `router`, and the
stages of `small`."""

from __future__ import annotations

from typing import Annotated

import typer

from megaasr.cli.train_rl import rl
from megaasr.cli.train_small import check_stem, decoder, encode, language_model, stem
from megaasr.cli.training_options import (
    OutputOption,
    SetOption,
    TensorboardOption,
    ThreadsOption,
    is_main_process,
    needing_libraries,
    print_row,
    reporter,
)

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def _stages() -> None:
    """Train a model from a recipe; every stage resumes where it was stopped."""


@app.command()
def base(
    recipe: Annotated[str, typer.Argument(help="TOML file or shipped recipe (train-base-tiny).")],
    output: OutputOption,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    dry_run: Annotated[bool, typer.Option(help="Print the resolved recipe and stop.")] = False,
) -> None:
    """Train a small Qwen3-ASR from scratch on a synthesised corpus.

    Two processes on two cores: torchrun --nproc-per-node 2 -m megaasr train base RECIPE -o RUN
    """
    from megaasr.config import load_recipe
    from megaasr.train.base.recipe import BaseRecipe

    plan = load_recipe(BaseRecipe, recipe, set_ or [])
    if dry_run:
        typer.echo(plan.resolved_json())
        return
    import torch

    with needing_libraries():
        from megaasr.train.base.trainer import BaseTraining
        from megaasr.train.curves import BASE, draw_curves
    if threads:
        torch.set_num_threads(threads)
    training = BaseTraining(plan, output, report=print_row)
    training.train()
    if is_main_process():
        draw_curves(output / "metrics.jsonl", output / "curves.png", BASE)
        typer.echo(f"{output / 'model'}: the model; {output / 'curves.png'}: its curves")


@app.command()
def sft(
    recipe: Annotated[str, typer.Argument(help="TOML file or shipped recipe (sft-tiny).")],
    output: OutputOption,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    tensorboard: TensorboardOption = False,
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
    from megaasr.train.sft.recipe import SFTRecipe

    plan = load_recipe(SFTRecipe, recipe, set_ or [])
    import torch

    with needing_libraries():
        from megaasr.train.curves import SFT, draw_curves
        from megaasr.train.sft.plan import describe_plan
        from megaasr.train.sft.trainer import SFTTraining
    if dry_run:
        typer.echo(plan.resolved_json())
        typer.echo(describe_plan(plan))
        return
    if threads:
        torch.set_num_threads(threads)
    report = reporter(output, tensorboard=tensorboard)
    adapter = SFTTraining(plan, output, report).train()
    if is_main_process():
        draw_curves(output / "metrics.jsonl", output / "curves.png", SFT)
        typer.echo(f"{adapter}: the adapter, over {plan.model}; {output / 'curves.png'}")


@app.command()
def router(
    recipe: Annotated[str, typer.Argument(help="TOML file or shipped recipe (router-tiny).")],
    output: OutputOption,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    dry_run: Annotated[bool, typer.Option(help="Print the resolved recipe and stop.")] = False,
) -> None:
    """Train a router: clean against degraded audio."""
    from megaasr.config import load_recipe
    from megaasr.train.router.recipe import RouterRecipe

    plan = load_recipe(RouterRecipe, recipe, set_ or [])
    if dry_run:
        typer.echo(plan.resolved_json())
        return
    import torch

    with needing_libraries():
        from megaasr.train.router.trainer import FILE, train_router
    if threads:
        torch.set_num_threads(threads)
    found = train_router(plan, output, report=print_row)
    print_row(found)
    typer.echo(f"{output / FILE}: the router")


app.command()(rl)
app.command()(stem)
app.command("check-stem")(check_stem)
app.command()(encode)
app.command("language-model")(language_model)
app.command()(decoder)
