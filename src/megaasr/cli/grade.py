"""`mega-asr grade`: measure the base model's error rate on every clip of a data set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from megaasr.cli.options import BatchSize, Device, EngineChoice, EngineName, Offline, Threads
from megaasr.errors import UsageError

if TYPE_CHECKING:
    from megaasr.grade.shards import ShardAssignment
    from megaasr.model.interface import SpeechModel

app = typer.Typer(add_completion=False)


@app.command()
def grade(  # noqa: PLR0913, PLR0917 (options)
    manifest: Annotated[
        Path,
        typer.Argument(
            help="JSONL manifest with transcripts, or a simulated data set.", exists=True
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Output folder.")],
    model: Annotated[str, typer.Option(help="The base model.")] = "tiny",
    adapter: Annotated[
        Path | None,
        typer.Option(
            help="Adapter to grade the model with, for reinforcement learning that starts from it."
        ),
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Clips per shard.")] = 500,
    container: Annotated[
        Literal["parquet", "jsonl"],
        typer.Option(help="parquet includes the audio; jsonl refers to it."),
    ] = "parquet",
    batch_size: BatchSize = 32,
    limit: Annotated[int | None, typer.Option(min=1, help="Grade only the first clips.")] = None,
    share: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Grade only shards I, I+N, ... [default: set by torchrun or SLURM]."
        ),
    ] = None,
    device: Device = None,
    engine: EngineChoice = EngineName.TRANSFORMERS,
    threads: Threads = None,
    offline: Offline = False,
    max_left_out: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Fail if more than this share of the clips cannot be graded."
        ),
    ] = 0.05,
) -> None:
    """Decode a data set with the base model, and write the error rate and band of each clip.

    The same command resumes an interrupted run. Several processes or machines can share a folder:
    torchrun --nproc-per-node N -m megaasr grade ..., a SLURM job array, or --share 0/4, 1/4 and so
    on. No clips are deleted; training leaves out those that are too hard to learn from.
    """
    from megaasr.cli.progress import progress_bar
    from megaasr.grade.grading import Grading
    from megaasr.grade.shards import ERRORS_FILE, GRADED_FILE, assignment_from_environment
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

        from megaasr.model.engines import load_speech_model

        if threads:
            torch.set_num_threads(threads)
        return load_speech_model(
            model,
            engine=engine.value,
            device=device,
            hub=HubOptions(offline),
            batch_size=batch_size,
            adapter=adapter,
        )

    assignment = _assignment(share) if share else assignment_from_environment(os.environ)
    with progress_bar("clips") as advance:
        result = grading.run(load, assignment, advance)
    speed = f", {result.audio_s / result.seconds:.1f} times real time" if result.seconds else ""
    typer.echo(f"{result.clips} clips graded, {result.failed} could not be used{speed}")
    if not result.done:
        typer.echo(f"{output}: shards of other processes are not done yet")
        return
    if result.left_out.problems:
        typer.echo(f"{result.left_out.describe()}; why: {output / ERRORS_FILE}", err=True)
    result.left_out.require(max_left_out, str(manifest), option="--max-left-out")
    _summarize(output, output / GRADED_FILE)


def _assignment(text: str) -> ShardAssignment:
    from megaasr.grade.shards import ShardAssignment

    rank, slash, world = text.partition("/")
    if not (slash and rank.isdecimal() and world.isdecimal() and int(world)):
        raise UsageError(f"--share {text}: write it as 0/4")
    return ShardAssignment(int(rank), int(world))


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
