"""`mega-asr publish`: measure a finished run on the test split and write it with its card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from megaasr.cli.options import Device
from megaasr.errors import UsageError

app = typer.Typer(add_completion=False)


@app.command()
def publish(
    run: Annotated[
        Path,
        typer.Argument(
            help="Run folder of `mega-asr train base`, or folder of `mega-asr recipe small`."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the model.")],
    corpus: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the corpus whose test split is transcribed; needed after `train base`."
        ),
    ] = None,
    device: Device = None,
) -> None:
    """Copy the stored weights and write results.json and the model card.

    The card of small takes its figures from the benchmarks in the recipe's folder; after
    `train base`, the test split of the corpus is transcribed and scored here.
    """
    from megaasr.cli.progress import progress_bar
    from megaasr.publish.base_model import publish_base_model
    from megaasr.publish.small_model import is_small_run, publish_small_model
    from megaasr.report.model_card import results_table

    if is_small_run(run):
        publish_small_model(run, output)
        typer.echo(f"{output}: the model and its card")
        return
    if corpus is None:
        raise UsageError("after `mega-asr train base`, name the corpus too: --corpus FOLDER")
    with progress_bar("clips") as advance:
        results = publish_base_model(run, corpus, output, device=device, on_progress=advance)
    typer.echo(results_table(results))
    typer.echo(f"no-speech clips: {results['nonspeech']}\nevery clip: {run / 'predictions.jsonl'}")
