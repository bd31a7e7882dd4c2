"""`mega-asr quantize`: a copy of a model with 8-bit weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from megaasr.cli.options import Offline

app = typer.Typer(add_completion=False)


@app.command()
def quantize(
    model: Annotated[
        str, typer.Argument(help="A model: folder, hub name or shipped.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the copy.")],
    offline: Offline = False,
) -> None:
    """Write a copy of a model with 8-bit weights, for CPUs.

    It gives the same texts as --dtype int8 with the model itself, takes half the disk space of
    16-bit weights, and loads without quantising them again. Adapter and router are copied as they
    are.
    """
    from megaasr.cli.progress import progress_bar
    from megaasr.hub import HubOptions
    from megaasr.model.hub import find_model_parts
    from megaasr.model.int8_checkpoint import write_int8
    from megaasr.model.loading import check_layout

    parts = find_model_parts(model, HubOptions(offline))
    check_layout(parts.base)
    with progress_bar("files") as advance:
        written = write_int8(
            parts, output, on_file=lambda done, total: advance(done, total, "quantised")
        )
    typer.echo(f"{output}: quantised" if written else f"{output}: already holds this copy")
