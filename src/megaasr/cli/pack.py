"""`mega-asr pack`: base, adapter and router in one folder, in the released layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from megaasr.cli.options import Offline, StoredDtypeName

app = typer.Typer(add_completion=False)


@app.command()
def pack(  # noqa: PLR0913, PLR0917 (options)
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the packed model.")],
    base: Annotated[
        str, typer.Option(help="Base model: tiny, a folder (also OUTPUT itself) or a hub id.")
    ] = "tiny",
    adapter: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of an adapter in PEFT's layout, trained on this base; several are joined.",
            exists=True,
        ),
    ] = None,
    router: Annotated[
        Path | None,
        typer.Option(help="File of mega-asr train router.", exists=True, dir_okay=False),
    ] = None,
    dtype: Annotated[
        StoredDtypeName, typer.Option(help="Data type of the adapter's file.")
    ] = StoredDtypeName.FLOAT16,
    measured: Annotated[
        Path | None,
        typer.Option(
            help="result.json of mega-asr bench on MODEL@base, MODEL@robust and MODEL (or named "
            "base, robust, routed): writes parts.json, and the model card if the base has one.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    confidence: Annotated[
        Path | None,
        typer.Option(help="File of mega-asr confidence.", exists=True, dir_okay=False),
    ] = None,
    branch_choice: Annotated[
        Path | None,
        typer.Option(help="File of mega-asr branch-choice.", exists=True, dir_okay=False),
    ] = None,
    made_from: Annotated[
        str, typer.Option(help="How the adapter was trained, for the model card.")
    ] = "A2S-SFT",
    offline: Offline = False,
) -> None:
    """Make a model folder for transcribe, bench and the library."""
    import torch

    from megaasr.publish.pack import describe_parts, pack_model

    parts = pack_model(
        output,
        base=base,
        adapters=adapter or (),
        router=router,
        dtype=getattr(torch, dtype.value),
        confidence=confidence,
        branch_choice=branch_choice,
        offline=offline,
    )
    if measured is not None:
        describe_parts(output, measured, made_from)
    packed = [name for name, part in (("adapter", parts.adapter), ("router", parts.router)) if part]
    typer.echo(", ".join([f"{output}: base", *packed]))
