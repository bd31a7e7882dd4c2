"""`mega-asr train`: `base` from scratch, `sft` and `rl` of the robust adapter, `router`, and the
stages of `small`."""

from __future__ import annotations

from typing import Annotated

import typer

from megaasr.cli.find_heads import find_heads
from megaasr.cli.train_rl import rl
from megaasr.cli.train_small import (
    align,
    check_phonemes,
    check_stem,
    check_times,
    decoder,
    encode,
    language_model,
    lexicon,
    stem,
)
from megaasr.cli.training_options import (
    DryRunOption,
    OutputOption,
    SetOption,
    TensorboardOption,
    ThreadsOption,
    TrainingRequest,
    needing_libraries,
    print_row,
    recipe_argument,
)

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def _stages() -> None:
    """Train a model from a recipe; a run that was stopped is resumed by the same command."""


@app.command()
def base(
    recipe: Annotated[str, recipe_argument("train-base-tiny")],
    output: OutputOption,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Train a small Qwen3-ASR from scratch on a synthesised corpus.

    Two processes on two cores: torchrun --nproc-per-node 2 -m megaasr train base RECIPE -o RUN
    """
    from megaasr.train.base.recipe import BaseRecipe

    request = TrainingRequest(recipe, output, set_, threads=threads, dry_run=dry_run)
    resolved = request.resolve(BaseRecipe)
    if resolved is None:
        return
    with needing_libraries():
        from megaasr.train.base.trainer import BaseTrainer
        from megaasr.train.curves import BASE
    request.train(BaseTrainer, resolved, "the model", curves=BASE)


@app.command()
def sft(
    recipe: Annotated[str, recipe_argument("sft-tiny")],
    output: OutputOption,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    tensorboard: TensorboardOption = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="No effect: a run is always resumed.", hidden=True)
    ] = False,
    dry_run: Annotated[
        bool, typer.Option(help="Print the resolved recipe, sizes and steps, and stop.")
    ] = False,
) -> None:
    """Train the robust adapter by A2S-SFT, in the phases of the recipe.

    The same command resumes a run that was stopped, in any phase and stage. Several processes:
    torchrun --nproc-per-node N -m megaasr train sft RECIPE -o RUN, or accelerate launch with a
    configuration for FSDP or DeepSpeed.
    """
    from megaasr.train.sft.recipe import SFTRecipe

    request = TrainingRequest(recipe, output, set_, threads=threads)
    resolved = request.resolve(SFTRecipe)
    assert resolved is not None
    with needing_libraries():
        from megaasr.train.curves import SFT
        from megaasr.train.sft.plan import describe_plan
        from megaasr.train.sft.trainer import SFTTrainer
    if dry_run:
        typer.echo(resolved.resolved_json())
        typer.echo(describe_plan(resolved))
        return
    product = f"the adapter for {resolved.model}"
    request.train(SFTTrainer, resolved, product, curves=SFT, tensorboard=tensorboard)


@app.command()
def router(
    recipe: Annotated[str, recipe_argument("router-tiny")],
    output: OutputOption,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Train a router to select the base or the robust branch for a clip."""
    from megaasr.train.router.recipe import RouterRecipe

    request = TrainingRequest(recipe, output, set_, threads=threads, dry_run=dry_run)
    resolved = request.resolve(RouterRecipe)
    if resolved is None:
        return
    with needing_libraries():
        from megaasr.train.router.trainer import RouterTrainer
    result = request.train(RouterTrainer, resolved, "the router")
    print_row(result.metrics)


app.command()(rl)
app.command()(stem)
app.command("check-stem")(check_stem)
app.command()(encode)
app.command()(lexicon)
app.command("check-phonemes")(check_phonemes)
app.command("check-times")(check_times)
app.command("find-heads")(find_heads)
app.command()(align)
app.command("language-model")(language_model)
app.command()(decoder)
