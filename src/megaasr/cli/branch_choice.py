"""`mega-asr branch-choice`: fit which branch's text is kept when both decode."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megaasr import strict_json
from megaasr.cli.languages import unknown_languages
from megaasr.cli.options import BatchSize

if TYPE_CHECKING:
    from megaasr.score.branch_choice_fit import ChoiceClips, ChoiceRates
    from megaasr.transcribe.recognizer import MegaASR

app = typer.Typer(add_completion=False)

RATES_FILE = "branch-choice-rates.json"


@app.command(name="branch-choice")
def branch_choice(
    data: Annotated[
        Path, typer.Argument(help="Clips with references, to fit the choice on.", exists=True)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")],
    check: Annotated[
        Path | None, typer.Option(help="Other clips, to evaluate the choice on.", exists=True)
    ] = None,
    model: Annotated[str, typer.Option(help="Model with an adapter and a router.")] = "tiny",
    folds: Annotated[int, typer.Option(min=2, help="Number of cross-validation folds.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the folds.")] = 1,
    limit: Annotated[
        int | None, typer.Option(min=2, help="Use only the first N clips of each list.")
    ] = None,
    batch_size: BatchSize = 16,
) -> None:
    """Fit which branch's text of a chunk is kept when both branches decode it.

    Writes branch_choice.json (keep it beside the model's weights) and the error rates of all ways
    to choose, per category, with the fitted choice cross-validated. Clips that cannot be used are
    left out and listed, and the exit status is 1.
    """
    from dataclasses import asdict, replace

    from megaasr.atomic import write_atomically
    from megaasr.transcribe.branch_choice import CHOICE_FILE
    from megaasr.transcribe.bundle import ModelOptions, open_bundle
    from megaasr.transcribe.options import ReliabilityOptions
    from megaasr.transcribe.recognizer import MegaASR

    options = ModelOptions(name=model, route="both", batch_size=batch_size)
    bundle = replace(open_bundle(options), choose_branch=None)
    asr = MegaASR.from_bundle(bundle, options, ReliabilityOptions(retry=False))
    output.mkdir(parents=True, exist_ok=True)
    fitted_on = _measure(asr, data, limit)
    choice = fitted_on.fit()
    rates = fitted_on.cross_validated(folds, seed)
    report: dict[str, Any] = {
        "model": model,
        "fitted_on": str(data),
        "cross_validated": [asdict(group) for group in rates],
    }
    typer.echo(f"{data}, {folds} folds:")
    _show(rates)
    left_out = len(fitted_on.left_out)
    if check is not None:
        checked = _measure(asr, check, limit)
        rates = checked.rates([choice(clip.texts) for clip in checked.clips])
        report |= {"checked_on": str(check), "checked": [asdict(group) for group in rates]}
        typer.echo(f"{check}:")
        _show(rates)
        left_out += len(checked.left_out)
    write_atomically(output / CHOICE_FILE, choice.to_json())
    write_atomically(output / RATES_FILE, strict_json.dumps(report, indent=1) + "\n")
    typer.echo(f"{output / CHOICE_FILE}: keep it beside the weights")
    if left_out:
        raise typer.Exit(1)


def _measure(asr: MegaASR, data: Path, limit: int | None) -> ChoiceClips:
    from megaasr.cli.progress import progress_bar
    from megaasr.score.blocks import blocks_of
    from megaasr.score.branch_choice_fit import measure_branches
    from megaasr.score.test_set import read_test_set

    test_set = read_test_set(data, limit=limit)
    unknown_languages(clip.language for clip in test_set.clips)
    test_set.require_audio()
    blocks = blocks_of(test_set.clips, None)
    with progress_bar("clips") as advance:
        clips = measure_branches(asr, test_set, blocks=blocks, on_progress=advance)
    for name, reason in clips.left_out.items():
        typer.echo(f"{name} is left out: {reason}", err=True)
    return clips


def _show(groups: list[ChoiceRates]) -> None:
    width = max(len(group.category) for group in groups)
    names = list(groups[0].rates)
    typer.echo(" " * (width + 7) + "".join(f"{name:>9}" for name in names))
    for group in groups:
        cells = "".join(f"{100 * group.rates[name]:9.1f}" for name in names)
        typer.echo(f"{group.category:<{width}} {group.clips:>6}{cells}")
