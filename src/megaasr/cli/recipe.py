"""`mega-asr recipe`: a whole pipeline, from text to report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megaasr.errors import UsageError

if TYPE_CHECKING:
    from megaasr.pipeline.recipe import PlannedStep
    from megaasr.pipeline.running import CompletedStep

app = typer.Typer(add_completion=False)

_PREFIX = "pipeline-"
_INSTALL = "see docs/reproduce.md, or run pip install '.[train,simulate,score]' in the checkout"


@app.command()
def recipe(
    name: Annotated[
        str,
        typer.Argument(
            help="Recipe: tiny, small, compare-sft, compare-rl, compare-routers, compare-adapters, "
            "or a TOML file of your own."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for all results.")],
    size: Annotated[
        str, typer.Option(help="Size: smoke (every step, tiny inputs), full or scratch.")
    ] = "full",
    smoke: Annotated[bool, typer.Option("--smoke", help="The same as --size smoke.")] = False,
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Show which steps would run, and why; run nothing.")
    ] = False,
) -> None:
    """Make all that the package ships: speech, base, corpora, grades, adapter, router, report.

    The plan is shown first. The same command resumes a run that was killed; steps whose command and
    inputs have not changed are not run again. pipeline.json records how and from what each file was
    made; logs/ holds the output of the steps.
    """
    from megaasr import __version__
    from megaasr.config import load_recipe, shipped_recipes
    from megaasr.pipeline.recipe import PipelineRecipe, plan
    from megaasr.pipeline.running import Pipeline

    shipped = [n.removeprefix(_PREFIX) for n in shipped_recipes() if n.startswith(_PREFIX)]
    if not name.endswith(".toml") and name not in shipped:
        raise UsageError(f"no recipe {name}; it is one of {', '.join(shipped)}, or a TOML file")
    pipeline_recipe = load_recipe(PipelineRecipe, f"{_PREFIX}{name}" if name in shipped else name)
    size_name = "smoke" if smoke else size
    pipeline = Pipeline(plan(pipeline_recipe, size_name, output), output, __version__)
    size_recipe = pipeline_recipe.sizes[size_name]
    typer.echo(
        f"{pipeline_recipe.what}\nsize {size_name}: {size_recipe.what} ({size_recipe.duration})"
    )
    stale_steps: list[str] = []
    for status in pipeline.status():
        if status.completed is None:
            stale_steps.append(status.step.name)
        state = status.stale_reason if status.completed is None else _duration(status.completed)
        typer.echo(f"  {status.step.name:18} {status.step.what} [{state}]")
        if plan_only:
            typer.echo(f"  {'':18} {status.step.command_line(output)}")
    if missing := pipeline_recipe.missing_requirements(stale_steps):
        message = f"the steps need {', '.join(missing)}, not installed here; {_INSTALL}"
        if not plan_only:
            raise UsageError(message)
        typer.echo(message)
    if not plan_only:

        def on_step(step: PlannedStep, completed: CompletedStep | None) -> None:
            state = step.command_line(output) if completed is None else _duration(completed)
            typer.echo(f"{step.name}: {state}")

        pipeline.run(on_step)
        typer.echo(f"{output}: everything is there")


def _duration(completed: CompletedStep) -> str:
    return f"done in {completed.seconds:.0f} s"
