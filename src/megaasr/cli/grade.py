"""`mega-asr grade`: what the base model makes of every clip of a data set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from megaasr.errors import UsageError

if TYPE_CHECKING:
    from megaasr.grade.work import Share
    from megaasr.model.interface import SpeechModel

app = typer.Typer(add_completion=False)


@app.command()
def grade(  # noqa: PLR0913, PLR0917 (options)
    manifest: Annotated[
        Path,
        typer.Argument(
            help="JSONL of clips with their words, or a simulated data set.", exists=True
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the grades.")],
    model: Annotated[str, typer.Option(help="The base model.")] = "tiny",
    adapter: Annotated[
        Path | None,
        typer.Option(help="Grade the model with this adapter: what reinforcement starts from."),
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Clips in a unit of work.")] = 500,
    container: Annotated[
        Literal["parquet", "jsonl"],
        typer.Option(help="parquet holds the sound too; jsonl points to it."),
    ] = "parquet",
    batch_size: Annotated[int, typer.Option(min=1, help="Clips heard at once.")] = 32,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first clips.")] = None,
    share: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Do shards I, I+N, ... only [default: of torchrun or SLURM]."
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps [default: the best available].")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
) -> None:
    """Decode a data set with the base model, and write each clip's error rate and band.

    The same command goes on where it was stopped. Several processes or machines may share a
    folder: torchrun --nproc-per-node N -m megaasr grade ..., a SLURM job array, or --share 0/4,
    1/4 and so on. Nothing is deleted: what is too hard to learn from is left out when reading.
    """
    from megaasr.cli.progress import progress_bar
    from megaasr.grade.grading import Grading
    from megaasr.grade.work import GRADED_FILE, share_from_environment
    from megaasr.hub import HubOptions
    from megaasr.model.hub import find_model_parts
    from megaasr.model.parts import fingerprint

    weights = fingerprint(find_model_parts(model, HubOptions(offline)).base)
    name = model
    if adapter is not None:
        from megaasr.adapter.peft_layout import read_adapter

        weights = f"{weights} + {read_adapter(adapter).sha256}"
        name = f"{model} + {adapter}"
    grading = Grading(
        manifest,
        output,
        model=name,
        fingerprint=weights,
        route="base" if adapter is None else "robust",
        shard_size=shard_size,
        container=container,
        limit=limit,
    )

    def load() -> SpeechModel:
        import torch

        from megaasr.model.loading import load_model

        if threads:
            torch.set_num_threads(threads)
        return load_model(
            model, device=device, hub=HubOptions(offline), batch_size=batch_size, adapter=adapter
        )

    mine = _share(share) if share else share_from_environment(os.environ)
    with progress_bar("clips") as advance:
        found = grading.run(load, mine, advance)
    rate = f", {found.audio_s / found.seconds:.1f} times real time" if found.seconds else ""
    typer.echo(f"{found.clips} clips graded, {found.failed} could not be read{rate}")
    if not found.done:
        typer.echo(f"{output}: shards of other processes are not done yet")
        return
    _summarize(output, output / GRADED_FILE)


def _share(text: str) -> Share:
    from megaasr.grade.work import Share

    rank, slash, world = text.partition("/")
    if not (slash and rank.isdecimal() and world.isdecimal() and int(world)):
        raise UsageError(f"--share {text}: write it as 0/4")
    return Share(int(rank), int(world))


def _summarize(output: Path, listing: Path) -> None:
    from megaasr.grade.summary import draw, summarize

    summary = summarize(listing)
    typer.echo(f"{listing}: " + ", ".join(f"{n} {band}" for band, n in summary.bands.items()))
    try:
        draw(summary, output / "grades.png")
    except ModuleNotFoundError:
        typer.echo("no picture: it needs pip install 'megaasr[train]'", err=True)
    else:
        typer.echo(f"{output / 'grades.png'}: error rates by severity and scenario")
