"""`mega-asr synthesize`: make a corpus of synthesised speech from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def synthesize(
    recipe: Annotated[
        str,
        typer.Argument(help="TOML file or shipped recipe (synthesize-tiny, synthesize-small)."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the corpus.")],
    workers: Annotated[
        int | None, typer.Option(min=1, help="Clips made in parallel [default: number of cores].")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="field=value, overrides the recipe; repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Print the resolved recipe and stop.")] = False,
) -> None:
    """Synthesise a corpus of speech with text-to-speech programs; resumes an interrupted run."""
    from megaasr.cli.progress import progress_bar
    from megaasr.config import load_recipe, recipe_fields
    from megaasr.synthesize.corpus import synthesize_corpus
    from megaasr.synthesize.plan import CorpusRecipe
    from megaasr.synthesize.speech_corpus import synthesize_speech
    from megaasr.synthesize.speech_plan import SpeechRecipe

    plan: CorpusRecipe | SpeechRecipe
    if "sentences" in recipe_fields(recipe):
        plan = load_recipe(SpeechRecipe, recipe, set_ or [])
    else:
        plan = load_recipe(CorpusRecipe, recipe, set_ or [])
    if dry_run:
        typer.echo(plan.resolved_json())
        return
    with progress_bar("clips") as advance:

        def on_progress(done: int, total: int, audio_s: float) -> None:
            advance(done, total, f"{audio_s / 3600:.2f} h")

        if isinstance(plan, SpeechRecipe):
            failures = synthesize_speech(plan, output, workers=workers, on_progress=on_progress)
        else:
            failures = synthesize_corpus(plan, output, workers=workers, on_progress=on_progress)
    for failure in failures:
        typer.echo(f"failed: {failure.clip_id}: {failure.reason}", err=True)
    typer.echo(f"{output}: train.jsonl, dev.jsonl, test.jsonl; {len(failures)} clips failed")
    if failures:
        raise typer.Exit(1)
