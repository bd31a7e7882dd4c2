"""`mega-asr pack`: base, adapter and router in one folder, in the released layout."""

from __future__ import annotations

import json
import math
import shutil
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megaasr.errors import UsageError

if TYPE_CHECKING:
    from megaasr.model.parts import ModelParts

app = typer.Typer(add_completion=False)

CARD = "README.md"


class _Type(StrEnum):
    """What `--dtype` takes."""

    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"


@app.command()
def pack(  # noqa: PLR0913, PLR0917 (options)
    output: Annotated[Path, typer.Option("--output", "-o", help="The model's folder.")],
    base: Annotated[
        str, typer.Option(help="The base: tiny, a folder, a hub id; it may be OUTPUT itself.")
    ] = "tiny",
    adapter: Annotated[
        list[Path] | None,
        typer.Option(help="Folder in PEFT's layout; several are put side by side.", exists=True),
    ] = None,
    router: Annotated[
        Path | None,
        typer.Option(help="File of mega-asr train router.", exists=True, dir_okay=False),
    ] = None,
    dtype: Annotated[_Type, typer.Option(help="Of the adapter's file.")] = _Type.FLOAT16,
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
    made_from: Annotated[
        str, typer.Option(help="For the card: what the adapter was trained by.")
    ] = "A2S-SFT",
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
) -> None:
    """Make a model that transcribe, bench and the library take by its folder.

    Adapters must have been trained on this very base.
    """
    import torch

    from megaasr.adapter.peft_layout import is_adapter, read_adapter
    from megaasr.adapter.write import join, write_adapter
    from megaasr.hub import HubOptions
    from megaasr.model.hub import find_model_parts
    from megaasr.model.parts import ADAPTER, ROUTER, find_parts, fingerprint, require_parent
    from megaasr.route.classifier import read_classifier
    from megaasr.transcribe.confidence import FILE, Calibration

    source = find_model_parts(base, HubOptions(offline)).base
    for one in adapter or ():
        if not is_adapter(one):
            raise UsageError(f"{one} holds no adapter")
    adapters = [read_adapter(one) for one in adapter or ()]
    kept = [] if adapters or not is_adapter(output / ADAPTER) else [read_adapter(output / ADAPTER)]
    for found in (*adapters, *kept):
        require_parent(found, source)
    if router is not None:
        read_classifier(router)  # a broken one is noticed before anything is written
    if confidence is not None:
        Calibration.read(confidence)
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
    if adapters or router is not None:
        _forget_measured(output)
    parts = find_parts(output)
    if confidence is not None:
        _replace(confidence, parts.base / FILE)
    if measured is not None:
        _describe(output, parts, measured, made_from)
    held = [name for name, part in (("adapter", parts.adapter), ("router", parts.router)) if part]
    typer.echo(f"{output}: base{''.join(f', {one}' for one in held)}")


def _describe(output: Path, parts: ModelParts, measured: Path, made_from: str) -> None:
    """Write what the adapter and the router are and do, and the card with it."""
    from safetensors import safe_open

    from megaasr.adapter.peft_layout import WEIGHTS_FILE, read_adapter
    from megaasr.atomic import write_atomically
    from megaasr.hashing import file_sha256
    from megaasr.report.model_card import PARTS_FILE
    from megaasr.report.parts_card import measured as rates_of
    from megaasr.score.result import Result

    if parts.adapter is None or parts.router is None:
        raise UsageError(f"{output}: a card of the parts needs an adapter and a router")
    layers = read_adapter(parts.adapter).layers
    weights = parts.adapter / WEIGHTS_FILE
    with safe_open(parts.router, "numpy") as tensors:
        sizes = [math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys()]  # noqa: SIM118
    try:
        found = rates_of(Result.read(measured))
    except ValueError as error:
        raise UsageError(f"{measured}: {error}") from error
    facts: dict[str, Any] = {
        "made_from": made_from,
        "adapter": {
            "layers": len(layers),
            "rank": max(layer.rank for layer in layers.values()),
            "numbers": sum(one.a.numel() + one.b.numel() for one in layers.values()) / 1e6,
            "adapter_mb": weights.stat().st_size / 1e6,
            "adapter_sha256": file_sha256(weights),
        },
        "router": {
            "router_numbers": sum(sizes) / 1e6,
            "router_mb": parts.router.stat().st_size / 1e6,
            "router_sha256": file_sha256(parts.router),
        },
        "measured": found,
    }
    write_atomically(output / PARTS_FILE, json.dumps(facts, indent=1) + "\n")
    _write_card(parts.base, output, facts)


def _write_card(base: Path, folder: Path, parts: dict[str, Any] | None = None) -> None:
    """Write the card of a base, and of what stands beside it, if the base was measured."""
    from megaasr.atomic import write_atomically
    from megaasr.report.model_card import RESULTS_FILE, model_card, read_json

    if (base / RESULTS_FILE).is_file():
        results = read_json(base / RESULTS_FILE)
        write_atomically(folder / CARD, model_card(results["facts"], results, parts))


def _forget_measured(output: Path) -> None:
    """Drop what was measured with parts that have been replaced, and the card with it."""
    from megaasr.model.parts import find_parts
    from megaasr.report.model_card import PARTS_FILE

    if not (output / PARTS_FILE).is_file():
        return
    (output / PARTS_FILE).unlink()
    (output / CARD).unlink(missing_ok=True)
    if find_parts(output).base == output:  # the base's card stands there, too
        _write_card(output, output)


def _copy(source: Path, target: Path) -> None:
    """Copy the files of a base, one by one, so that a kill leaves no half file under its name.

    What its card says about parts that lie beside it, and do not come along, is left out; so is
    what an earlier base left in the folder.
    """
    from megaasr.errors import CheckpointError
    from megaasr.model.parts import fingerprint
    from megaasr.report.model_card import PARTS_FILE, RESULTS_FILE
    from megaasr.transcribe.confidence import FILE

    target.mkdir(exist_ok=True)
    try:
        another = any(target.glob("*.safetensors")) and fingerprint(target) != fingerprint(source)
    except CheckpointError:  # half of something
        another = True
    files = sorted(one for one in source.iterdir() if one.is_file() and one.name != PARTS_FILE)
    names, told = {one.name for one in files}, (CARD, RESULTS_FILE, FILE)
    if another:
        for old in [*target.glob("*.safetensors*"), *(target / one for one in told)]:
            if old.name not in names:
                old.unlink(missing_ok=True)
    for file in files:
        _replace(file, target / file.name)
    if (source / PARTS_FILE).is_file():
        _write_card(target, target)


def _replace(source: Path, target: Path) -> None:
    from megaasr.atomic import atomic_file

    with source.open("rb") as content, atomic_file(target) as file:
        shutil.copyfileobj(content, file)
