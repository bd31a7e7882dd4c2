"""`mega-asr simulate nonspeech`: hours of sound in which nobody speaks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def nonspeech(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the test set.")],
    hours: Annotated[float, typer.Option(help="Hours of audio, in clips of a minute.")] = 5.0,
    noise: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of recordings without speech, repeatable.", exists=True),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random choice.")] = 1,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Clips made in parallel [default: one a core].")
    ] = None,
) -> None:
    """Make a test set without speech: noise, music, machines, crowds, silence.

    What `mega-asr bench --data OUTPUT/nonspeech.jsonl` finds in it is invented. The noises are
    realisations that no training set has. Interrupted, the same command resumes.
    """
    from megaasr.cli.progress import progress_bar
    from megaasr.simulate.noise_pool import NoisePool
    from megaasr.simulate.nonspeech_set import build_nonspeech_set

    pool = NoisePool.from_folders(noise, split="test") if noise else NoisePool(split="test")
    with progress_bar("clips") as advance:
        manifest = build_nonspeech_set(
            hours,
            pool,
            output,
            seed=seed,
            workers=workers,
            on_progress=lambda done, total: advance(done, total, ""),
        )
    typer.echo(f"{manifest}: mega-asr bench --data {manifest} --system small -o DIR")
