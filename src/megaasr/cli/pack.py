"""`mega-asr pack`: base, adapter and router in one folder, in the released layout."""

from __future__ import annotations

import shutil
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from megaasr.errors import UsageError

app = typer.Typer(add_completion=False)


class _Type(StrEnum):
    """What `--dtype` takes."""

    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"


@app.command()
def pack(
    output: Annotated[Path, typer.Option("--output", "-o", help="The model's folder.")],
    base: Annotated[
        str, typer.Option(help="The base: tiny, a folder, a hub id; it may be OUTPUT itself.")
    ] = "tiny",
    adapter: Annotated[
        list[Path] | None,
        typer.Option(help="Folder in PEFT's layout; several are put side by side.", exists=True),
    ] = None,
    router: Annotated[
        Path | None, typer.Option(help="File of mega-asr train router.", exists=True)
    ] = None,
    dtype: Annotated[_Type, typer.Option(help="Of the adapter's file.")] = _Type.FLOAT16,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
) -> None:
    """Make a model that transcribe, bench and the library take by its folder.

    Adapters must have been trained on this very base.
    """
    import torch

    from megaasr.adapter.peft_layout import is_adapter, read_adapter
    from megaasr.adapter.write import join, write_adapter
    from megaasr.model.hub import find_model
    from megaasr.model.parts import ADAPTER, ROUTER, find_parts, fingerprint, require_parent
    from megaasr.route.classifier import read_classifier

    source = find_parts(find_model(base, offline=offline)).base
    for one in adapter or ():
        if not is_adapter(one):
            raise UsageError(f"{one} holds no adapter")
    adapters = [read_adapter(one) for one in adapter or ()]
    for found in adapters:
        require_parent(found, source)
    if router is not None:
        read_classifier(router)  # a broken one is noticed before anything is written
    output.mkdir(parents=True, exist_ok=True)
    if source.resolve() != output.resolve():
        _copy(source, output / "base")
    if adapters:
        write_adapter(
            join(adapters, "adapter"),
            output / ADAPTER,
            base=base,
            fingerprint=fingerprint(source),
            dtype=getattr(torch, dtype.value),
        )
    if router is not None:
        (output / ROUTER).mkdir(exist_ok=True)
        _replace(router, output / ROUTER / "best_acc_model.safetensors")
    parts = find_parts(output)
    held = [name for name, part in (("adapter", parts.adapter), ("router", parts.router)) if part]
    typer.echo(f"{output}: base{''.join(f', {one}' for one in held)}")


def _copy(source: Path, target: Path) -> None:
    """Copy the files of a base, one by one, so that a kill leaves no half file under its name."""
    target.mkdir(exist_ok=True)
    for file in sorted(one for one in source.iterdir() if one.is_file()):
        _replace(file, target / file.name)


def _replace(source: Path, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, part)
    part.replace(target)
