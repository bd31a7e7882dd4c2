"""`mega-asr merge`: base and adapter as one plain checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from megaasr.cli.options import AdapterFolder, Offline
from megaasr.errors import UsageError

app = typer.Typer(add_completion=False)


@app.command()
def merge(
    model: Annotated[
        str, typer.Argument(help="A model: folder, hub name or shipped.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new checkpoint.")],
    adapter: AdapterFolder = None,
    offline: Offline = False,
) -> None:
    """Merge an adapter into its base: one checkpoint for programs without support for adapters.

    Layout and weight types stay those of the base; sums are computed in float32. The result is
    always the robust branch: there is nothing left to route.
    """
    from megaasr.adapter.merge import merge as merge_checkpoint
    from megaasr.adapter.peft_layout import read_adapter
    from megaasr.cli.progress import progress_bar
    from megaasr.hub import HubOptions
    from megaasr.model.hub import find_model_parts
    from megaasr.model.parts import require_outside, require_parent

    parts = find_model_parts(model, HubOptions(offline))
    folder = adapter or parts.adapter
    if folder is None:
        raise UsageError(f"{model} has no adapter of its own; name one with --adapter")
    require_outside(output, parts)
    weights = read_adapter(folder)
    require_parent(weights, parts.base)
    with progress_bar("files") as advance:
        written = merge_checkpoint(
            parts.base,
            weights,
            output,
            on_file=lambda done, total: advance(done, total, "merged"),
        )
    typer.echo(f"{output}: merged" if written else f"{output}: already holds this merge")
