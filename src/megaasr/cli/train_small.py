"""The stages of `mega-asr train` that make `small`: stem, encode, language-model, decoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from megaasr.cli.training_options import (
    OutputOption,
    SetOption,
    ThreadsOption,
    is_main_process,
    needing_libraries,
    print_row,
)

if TYPE_CHECKING:
    from megaasr.config import Recipe

R = TypeVar("R", bound="Recipe")
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")
]


def _resolve(kind: type[R], recipe: str, overrides: list[str] | None, *, dry_run: bool) -> R | None:
    """Return the recipe, or print it and return None."""
    from megaasr.config import load_recipe

    resolved = load_recipe(kind, recipe, overrides or [])
    if dry_run:
        typer.echo(resolved.resolved_json())
        return None
    return resolved


def _set_threads(threads: int | None) -> None:
    import torch

    if threads:
        torch.set_num_threads(threads)


def stem(
    recipe: Annotated[str, typer.Argument(help="TOML file or shipped recipe (train-stem-small).")],
    output: OutputOption,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Fit the convolutions of small's encoder to Whisper-base's stem."""
    with needing_libraries():
        from megaasr.train.small.stem import StemRecipe, StemTraining
    resolved = _resolve(StemRecipe, recipe, set_, dry_run=dry_run)
    if resolved is None:
        return
    _set_threads(threads)
    folder = StemTraining(resolved, output, print_row).train()
    if is_main_process():
        typer.echo(f"{folder}: the encoder")


def check_stem(
    encoder: Annotated[Path, typer.Argument(help="Folder of the fitted encoder.")],
    data: Annotated[Path, typer.Option(help="Manifest of clips with their texts.")],
    whisper: Annotated[
        Path, typer.Option(help="Folder with Whisper-base's model.bin (make judge).")
    ] = Path("corpus/judge/whisper-base"),
    scenario: Annotated[
        str | None, typer.Option(help="Degrade every clip with this scenario first.")
    ] = None,
    severity: Annotated[float, typer.Option(min=0, max=1, help="Severity of --scenario.")] = 0.3,
    limit: Annotated[int | None, typer.Option(min=1, help="Most clips.")] = None,
    threads: ThreadsOption = None,
) -> None:
    """Compare the fitted encoder with Whisper's by Whisper's own decoder; exit 1 if it is worse
    than 1.3 times Whisper's error rate."""
    with needing_libraries():
        from megaasr.train.small.stem_check import STOP_RATIO, Degradation, check_stem
    _set_threads(threads)
    degradation = Degradation(scenario, severity) if scenario else None
    check = check_stem(encoder, whisper, data, degradation, limit)
    typer.echo(
        f"{check.clips} clips: Whisper {100 * check.whisper.rate:.1f} %, "
        f"fitted {100 * check.fitted.rate:.1f} %, ratio {check.ratio:.2f}"
    )
    if check.ratio > STOP_RATIO:
        raise typer.Exit(1)


def encode(
    recipe: Annotated[str, typer.Argument(help="TOML file or shipped recipe (encode-small).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the frames.")],
    set_: SetOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Compute the encoder frames that the decoder is trained on, once."""
    with needing_libraries():
        from megaasr.train.small.frames import FramesRecipe, encode_corpus
    from megaasr.cli.progress import progress_bar

    resolved = _resolve(FramesRecipe, recipe, set_, dry_run=dry_run)
    if resolved is None:
        return
    with progress_bar("manifests") as advance:
        encode_corpus(resolved, output, lambda done, total: advance(done, total, "encoded"))
    typer.echo(f"{output}: frames of {len(resolved.manifests)} manifests")


def language_model(
    recipe: Annotated[str, typer.Argument(help="TOML file or shipped recipe (train-lm-small).")],
    output: OutputOption,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Pre-train small's decoder as a language model on text."""
    with needing_libraries():
        from megaasr.train.small.language_model import LanguageModelRecipe, LanguageModelTraining
    resolved = _resolve(LanguageModelRecipe, recipe, set_, dry_run=dry_run)
    if resolved is None:
        return
    _set_threads(threads)
    folder = LanguageModelTraining(resolved, output, print_row).train()
    if is_main_process():
        typer.echo(f"{folder}: the language model")


def decoder(
    recipe: Annotated[
        str, typer.Argument(help="TOML file or shipped recipe (train-decoder-small).")
    ],
    output: OutputOption,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Train small's projector and decoder on encoder frames.

    Two processes on two cores: torchrun --nproc-per-node 2 -m megaasr train decoder RECIPE -o RUN
    """
    with needing_libraries():
        from megaasr.train.small.decoder import DecoderTraining
        from megaasr.train.small.decoder_recipe import DecoderRecipe
    resolved = _resolve(DecoderRecipe, recipe, set_, dry_run=dry_run)
    if resolved is None:
        return
    _set_threads(threads)
    folder = DecoderTraining(resolved, output, print_row).train()
    if is_main_process():
        typer.echo(f"{folder}: the model")
