"""`mega-asr train rl`: policy optimisation, and the temperature probe that should precede it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.cli.training_options import (
    DryRunOption,
    OutputOption,
    SetOption,
    TensorboardOption,
    ThreadsOption,
    TrainingRequest,
    needing_libraries,
    recipe_argument,
)
from megaasr.train.processes import is_main_process

if TYPE_CHECKING:
    from megaasr.audio.waveform import Waveform
    from megaasr.train.rl.recipe import RLRecipe


def rl(
    recipe: Annotated[str, recipe_argument("rl-tiny")],
    output: OutputOption,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    tensorboard: TensorboardOption = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Probe sampling temperatures of the starting model; do not train."
        ),
    ] = False,
    probe_clips: Annotated[int, typer.Option(min=1, help="Number of clips for --probe.")] = 200,
    dry_run: DryRunOption = False,
) -> None:
    """Train the robust adapter further by DG-WGPO, from the result of `train sft`.

    The same command resumes a run that was stopped. Several processes: torchrun
    --nproc-per-node N -m megaasr train rl RECIPE -o RUN.
    """
    from megaasr.train.rl.recipe import RLRecipe

    request = TrainingRequest(recipe, output, set_, threads=threads, dry_run=dry_run)
    resolved = request.resolve(RLRecipe)
    if resolved is None:
        return
    if probe:
        request.set_threads()
        _probe(resolved, output, probe_clips)
        return
    with needing_libraries():
        from megaasr.train.curves import RL
        from megaasr.train.rl.trainer import RLTrainer
    product = f"the adapter for {resolved.model}"
    request.train(RLTrainer, resolved, product, curves=RL, tensorboard=tensorboard)
    if is_main_process() and (output / "groups.jsonl").is_file():
        _write_page(output)
        typer.echo(f"{output / 'groups.html'}: some of its groups, sample by sample")


def _probe(recipe: RLRecipe, output: Path, clips: int) -> None:
    from rich.console import Console
    from rich.table import Table

    with needing_libraries():
        from megaasr.train.rl.probe import draw_probe, probe, recommend

    def show(temperature: float) -> None:
        typer.echo(f"temperature {temperature:g} ...", err=True)

    results = probe(recipe, clips=clips, on_temperature=show)
    output.mkdir(parents=True, exist_ok=True)
    recommended = recommend(results)
    document = {
        "recipe": recipe.model_dump(mode="json"),
        "clips": clips,
        "recommended": recommended,
        "temperatures": [result.to_dict() for result in results],
    }
    write_atomically(output / "probe.json", strict_json.dumps(document, indent=2) + "\n")
    draw_probe(results, output / "probe.png")
    header = ("temperature", "CPI", "BAP", "valid", "variance", "mean sample", "best sample")
    table = Table(*header)
    for result in results:
        shares = [value for name, value in result.to_dict().items() if name != "temperature"]
        table.add_row(f"{result.temperature:g}", *(f"{100 * share:.1f} %" for share in shares))
    Console().print(table)
    picture = output / "probe.png"
    typer.echo(f"recommended: --set sampling.temperature={recommended:g} ({picture})")


def _write_page(output: Path) -> None:
    from megaasr.audio.clips import read_clip
    from megaasr.errors import AudioError
    from megaasr.report.groups_page import groups_page, read_groups

    def read(audio: str) -> Waveform | None:
        try:
            return read_clip(Path(), audio)
        except (AudioError, OSError):
            return None

    page = groups_page(read_groups(output / "groups.jsonl"), output.name, read)
    write_atomically(output / "groups.html", page)
