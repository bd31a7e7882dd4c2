"""`mega-asr merge`: base and adapter as one plain checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from megaasr.errors import UsageError

app = typer.Typer(add_completion=False)


@app.command()
def merge(
    model: Annotated[
        str, typer.Argument(help="A model: folder, hub name or shipped.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new checkpoint.")],
    adapter: Annotated[
        Path | None, typer.Option(help="Adapter folder, instead of the model's own.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
) -> None:
    """Write base and adapter as one checkpoint, for programs that know no adapters.

    The layout stays the base's, and so does the type of its weights; sums are made in 32 bit.
    The result always is the robust branch: there is nothing left to route.
    """
    from megaasr.adapter.merge import merge as merge_checkpoint
    from megaasr.adapter.peft_layout import read_adapter
    from megaasr.cli.progress import progress_bar
    from megaasr.hub import HubOptions
    from megaasr.model.hub import find_model_parts
    from megaasr.model.parts import require_parent

    parts = find_model_parts(model, HubOptions(offline))
    chosen = adapter or parts.adapter
    if chosen is None:
        raise UsageError(f"{model} has no adapter of its own; name one with --adapter")
    found = read_adapter(chosen)
    require_parent(found, parts.base)
    with progress_bar("files") as advance:
        written = merge_checkpoint(
            parts.base,
            found,
            output,
            on_file=lambda done, total: advance(done, total, "merged"),
        )
    typer.echo(f"{output}: merged" if written else f"{output}: this merge was there already")
