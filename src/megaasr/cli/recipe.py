"""`mega-asr recipe`: a whole pipeline, from text to report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from megaasr.pipeline.recipe import Step
    from megaasr.pipeline.running import Done

app = typer.Typer(add_completion=False)


@app.command()
def recipe(
    name: Annotated[str, typer.Argument(help="tiny, or a TOML file of steps.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder of everything.")],
    size: Annotated[str, typer.Option(help="smoke: every step, small; full; scratch.")] = "full",
    smoke: Annotated[bool, typer.Option("--smoke", help="The same as --size smoke.")] = False,
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Show what would be done and why, and stop.")
    ] = False,
) -> None:
    """Make all that the package ships: speech, base, corpora, grades, adapter, router, report.

    The plan is shown first. Killed at any moment, the same command goes on; steps whose command and
    inputs have not changed are not run again. pipeline.json says how and from what each file was
    made; logs/ has what the steps said.
    """
    from megaasr import __version__
    from megaasr.config import load_recipe
    from megaasr.pipeline.recipe import PipelineRecipe, plan
    from megaasr.pipeline.running import Pipeline

    shipped = f"pipeline-{name}"
    found = load_recipe(PipelineRecipe, name if name.endswith(".toml") else shipped)
    chosen = "smoke" if smoke else size
    pipeline = Pipeline(plan(found, chosen, output), output, __version__)
    about = found.sizes[chosen]
    typer.echo(f"{found.what}\nsize {chosen}: {about.what} ({about.duration})")
    for standing in pipeline.standing():
        state = f"done in {standing.done.seconds:.0f} s" if standing.done else standing.why
        typer.echo(f"  {standing.step.name:18} {standing.step.what} [{state}]")
        if plan_only:
            typer.echo(f"  {'':18} mega-asr {' '.join(standing.step.arguments)}")
    if not plan_only:
        pipeline.run(_report)
        typer.echo(f"{output}: everything is there")


def _report(step: Step, done: Done | None) -> None:
    if done is None:
        typer.echo(f"{step.name}: mega-asr {' '.join(step.arguments)}")
    else:
        typer.echo(f"{step.name}: done in {done.seconds:.0f} s")
