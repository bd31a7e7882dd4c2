"""`mega-asr recipe`: a whole pipeline, from text to report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megaasr.errors import UsageError

if TYPE_CHECKING:
    from megaasr.pipeline.recipe import Step
    from megaasr.pipeline.running import Done

app = typer.Typer(add_completion=False)

_PREFIX = "pipeline-"
_INSTALL = "see docs/reproduce.md, or run pip install '.[train,simulate,score]' in the checkout"


@app.command()
def recipe(
    name: Annotated[str, typer.Argument(help="tiny, compare-sft, compare-rl, or a TOML file.")],
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
    from megaasr.config import load_recipe, shipped_recipes
    from megaasr.pipeline.recipe import PipelineRecipe, plan
    from megaasr.pipeline.running import Pipeline

    known = [one.removeprefix(_PREFIX) for one in shipped_recipes() if one.startswith(_PREFIX)]
    if not name.endswith(".toml") and name not in known:
        raise UsageError(f"no recipe {name}; it is one of {', '.join(known)}, or a TOML file")
    found = load_recipe(PipelineRecipe, f"{_PREFIX}{name}" if name in known else name)
    chosen = "smoke" if smoke else size
    pipeline = Pipeline(plan(found, chosen, output), output, __version__)
    about = found.sizes[chosen]
    typer.echo(f"{found.what}\nsize {chosen}: {about.what} ({about.duration})")
    todo: list[str] = []
    for standing in pipeline.standing():
        todo += [standing.step.name] if standing.why else []
        state = _took(standing.done) if standing.done else standing.why
        typer.echo(f"  {standing.step.name:18} {standing.step.what} [{state}]")
        if plan_only:
            typer.echo(f"  {'':18} {standing.step.shown(output)}")
    if absent := found.absent(todo):
        wanted = f"the steps need {', '.join(absent)}, not installed here; {_INSTALL}"
        if not plan_only:
            raise UsageError(wanted)
        typer.echo(wanted)
    if not plan_only:

        def report(step: Step, done: Done | None) -> None:
            typer.echo(f"{step.name}: {step.shown(output) if done is None else _took(done)}")

        pipeline.run(report)
        typer.echo(f"{output}: everything is there")


def _took(done: Done) -> str:
    return f"done in {done.seconds:.0f} s"
