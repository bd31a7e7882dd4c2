"""`mega-asr train rl`: policy optimisation, and the probe that should go before it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megaasr.atomic import write_atomically
from megaasr.cli.training_options import (
    OutputOption,
    SetOption,
    TensorboardOption,
    ThreadsOption,
    is_main_process,
    needing_libraries,
    reporter,
)

if TYPE_CHECKING:
    from megaasr.audio.waveform import Waveform
    from megaasr.train.rl.recipe import RLRecipe


def rl(
    recipe: Annotated[str, typer.Argument(help="TOML file or shipped recipe (rl-tiny).")],
    output: OutputOption,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    tensorboard: TensorboardOption = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Try sampling temperatures on the starting model; train nothing."
        ),
    ] = False,
    probe_clips: Annotated[int, typer.Option(min=1, help="Clips of the probe.")] = 200,
    dry_run: Annotated[bool, typer.Option(help="Print the resolved recipe and stop.")] = False,
) -> None:
    """Train the robust adapter further by DG-WGPO, from the result of `train sft`.

    The same command goes on where a run was stopped. Several processes: torchrun
    --nproc-per-node N -m megaasr train rl RECIPE -o RUN.
    """
    from megaasr.config import load_recipe
    from megaasr.train.rl.recipe import RLRecipe

    plan = load_recipe(RLRecipe, recipe, set_ or [])
    if dry_run:
        typer.echo(plan.resolved_json())
        return
    import torch

    if threads:
        torch.set_num_threads(threads)
    if probe:
        _probe(plan, output, probe_clips)
        return
    with needing_libraries():
        from megaasr.train.curves import RL, draw_curves
        from megaasr.train.rl.trainer import RLTraining
    report = reporter(output, tensorboard=tensorboard)
    adapter = RLTraining(plan, output, report).train()
    if not is_main_process():
        return
    draw_curves(output / "metrics.jsonl", output / "curves.png", RL)
    typer.echo(f"{adapter}: the adapter, over {plan.model}; {output / 'curves.png'}: its curves")
    if (output / "groups.jsonl").is_file():
        _write_page(output)
        typer.echo(f"{output / 'groups.html'}: some of its groups, sample by sample")


def _probe(plan: RLRecipe, output: Path, clips: int) -> None:
    from rich.console import Console
    from rich.table import Table

    with needing_libraries():
        from megaasr.train.rl.probe import draw_probe, probe, recommend
    found = probe(
        plan, clips=clips, on_progress=lambda at: typer.echo(f"temperature {at:g} ...", err=True)
    )
    output.mkdir(parents=True, exist_ok=True)
    best = recommend(found)
    document = {
        "recipe": plan.model_dump(mode="json"),
        "clips": clips,
        "recommended": best,
        "temperatures": [one.as_dict() for one in found],
    }
    write_atomically(output / "probe.json", json.dumps(document, indent=2) + "\n")
    draw_probe(found, output / "probe.png")
    table = Table("temperature", "CPI", "BAP", "valid", "spread", "mean sample", "best sample")
    for one in found:
        shares = (one.cpi, one.bap, one.valid, one.spread, one.error_rate, one.best_error_rate)
        table.add_row(f"{one.temperature:g}", *(f"{100 * value:.1f} %" for value in shares))
    Console().print(table)
    typer.echo(f"recommended: --set sampling.temperature={best:g} ({output / 'probe.png'})")


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
