"""Put base, adapter and router into one folder, in the released layout."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from megaasr import strict_json
from megaasr.adapter.peft_layout import WEIGHTS_FILE, is_adapter, read_adapter
from megaasr.adapter.write import join, write_adapter
from megaasr.atomic import atomic_file, write_atomically
from megaasr.derived_folder import MARKERS
from megaasr.errors import CheckpointError, UsageError
from megaasr.hashing import file_sha256
from megaasr.hub import HubOptions
from megaasr.model.alignment_heads import HEADS_FILE
from megaasr.model.chunk_length import CHUNKING_FILE
from megaasr.model.hub import find_model_parts
from megaasr.model.parts import (
    ADAPTER,
    ROUTER,
    ModelParts,
    find_parts,
    fingerprint,
    parent_fingerprint,
    require_parent,
)
from megaasr.report.model_card import PARTS_FILE, RESULTS_FILE, model_card, read_json
from megaasr.report.parts_card import branch_rates
from megaasr.route.classifier import read_classifier
from megaasr.score.result import Result
from megaasr.transcribe.branch_choice import CHOICE_FILE, BranchChoice
from megaasr.transcribe.confidence import CALIBRATION_FILE, Calibration

CARD_FILE = "README.md"
_ROUTER_FILE = "best_acc_model.safetensors"


def pack_model(
    output: Path,
    *,
    base: str = "tiny",
    adapters: Sequence[Path] = (),
    router: Path | None = None,
    dtype: torch.dtype = torch.float16,
    confidence: Path | None = None,
    branch_choice: Path | None = None,
    offline: bool = False,
) -> ModelParts:
    """Write a model's parts into one folder; parts that are not named stay as they are.

    Args:
        output: the model's folder; made if it does not exist.
        base: name, folder or hub id of the base; may be `output` itself.
        adapters: folders of adapters in PEFT's layout, trained on this base; several are joined.
        router: file of `mega-asr train router`; None for none.
        dtype: data type of the adapter's file.
        confidence: file of `mega-asr confidence`; None for none.
        branch_choice: file of `mega-asr branch-choice`; None for none.
        offline: never use the network.

    Returns:
        The parts that the folder holds now.

    Raises:
        ModelError: there is no such base, or an adapter was trained on another one.
        UsageError: a folder holds no adapter.
    """
    source = find_model_parts(base, HubOptions(offline)).base
    for folder in adapters:
        if not is_adapter(folder):
            raise UsageError(f"{folder} holds no adapter")
    new = [read_adapter(folder) for folder in adapters]
    old = [] if new or not is_adapter(output / ADAPTER) else [read_adapter(output / ADAPTER)]
    for adapter in (*new, *old):
        require_parent(adapter, source)
    if router is not None:
        read_classifier(router)  # a damaged one is noticed before anything is written
    if confidence is not None:
        Calibration.read(confidence)
    if branch_choice is not None:
        BranchChoice.read(branch_choice)
    parent = parent_fingerprint(source)  # a damaged base is noticed, too
    output.mkdir(parents=True, exist_ok=True)
    if source.resolve() != output.resolve():
        _copy_base(source, output / "base")
    if new:
        write_adapter(
            join(new, "adapter"),
            output / ADAPTER,
            base=base,
            fingerprint=parent,
            dtype=dtype,
        )
    if router is not None:
        (output / ROUTER).mkdir(exist_ok=True)
        _copy_file(router, output / ROUTER / _ROUTER_FILE)
    if new or router is not None:
        _remove_outdated_card(output)
    parts = find_parts(output)
    if confidence is not None:
        _copy_file(confidence, parts.base / CALIBRATION_FILE)
    if branch_choice is not None:
        _copy_file(branch_choice, parts.base / CHOICE_FILE)
    return parts


def describe_parts(output: Path, result: Path, made_from: str) -> None:
    """Write `parts.json`, and the model card if the base has results.

    Args:
        output: folder of a packed model with adapter and router.
        result: `result.json` of `mega-asr bench` on the model's base, robust and routed system.
        made_from: short description of the adapter's training for the card, such as `A2S-SFT`.

    Raises:
        UsageError: the adapter, the router, or one of the three systems is missing.
        RecordError: the result cannot be read.
    """
    parts = find_parts(output)
    if parts.adapter is None or parts.router is None:
        raise UsageError(f"{output}: a card of the parts needs an adapter and a router")
    try:
        measured = branch_rates(Result.read(result))
    except ValueError as error:
        raise UsageError(f"{result}: {error}") from error
    facts: dict[str, Any] = {
        "made_from": made_from,
        "adapter": _adapter_facts(parts.adapter),
        "router": _router_facts(parts.router),
        "measured": measured,
    }
    write_atomically(output / PARTS_FILE, strict_json.dumps(facts, indent=1) + "\n")
    _write_card(parts.base, output, facts)


def _adapter_facts(adapter: Path) -> dict[str, Any]:
    layers = read_adapter(adapter).layers
    weights = adapter / WEIGHTS_FILE
    return {
        "layers": len(layers),
        "rank": max(layer.rank for layer in layers.values()),
        "numbers": sum(layer.a.numel() + layer.b.numel() for layer in layers.values()) / 1e6,
        "adapter_mb": weights.stat().st_size / 1e6,
        "adapter_sha256": file_sha256(weights),
    }


def _router_facts(router: Path) -> dict[str, Any]:
    return {
        "router_numbers": count_parameters(router) / 1e6,
        "router_mb": router.stat().st_size / 1e6,
        "router_sha256": file_sha256(router),
    }


def count_parameters(weights: Path) -> int:
    """Return the number of values in all tensors of a safetensors file."""
    from safetensors import safe_open

    with safe_open(weights, "numpy") as tensors:
        shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118
    return sum(math.prod(shape) for shape in shapes)


def _write_card(base: Path, folder: Path, parts: dict[str, Any] | None = None) -> None:
    """Write the card of a base that has results, with a section on the other parts."""
    if (base / RESULTS_FILE).is_file():
        results = read_json(base / RESULTS_FILE)
        write_atomically(folder / CARD_FILE, model_card(results["facts"], results, parts))


def _remove_outdated_card(output: Path) -> None:
    """Remove `parts.json` and its card, whose figures are those of parts that were replaced."""
    if not (output / PARTS_FILE).is_file():
        return
    (output / PARTS_FILE).unlink()
    (output / CARD_FILE).unlink(missing_ok=True)
    if find_parts(output).base == output:  # the base's own card has the same path
        _write_card(output, output)


def _copy_base(source: Path, target: Path) -> None:
    """Copy the files of a base one by one, so that a kill leaves no incomplete file.

    Left out is what its card says about parts that are not copied with it. Files of an earlier base
    in the folder are removed.
    """
    target.mkdir(exist_ok=True)
    try:
        replaced = any(target.glob("*.safetensors")) and fingerprint(target) != fingerprint(source)
    except CheckpointError:  # an incomplete copy
        replaced = True
    left_out = (PARTS_FILE, *MARKERS)
    files = sorted(f for f in source.iterdir() if f.is_file() and f.name not in left_out)
    if replaced:
        names = {file.name for file in files}
        fitted = (CALIBRATION_FILE, CHOICE_FILE, HEADS_FILE, CHUNKING_FILE)
        descriptions = (target / name for name in (CARD_FILE, RESULTS_FILE, *fitted, *MARKERS))
        for old in [*target.glob("*.safetensors*"), *descriptions]:
            if old.name not in names:
                old.unlink(missing_ok=True)
    for file in files:
        _copy_file(file, target / file.name)
    if (source / PARTS_FILE).is_file():
        _write_card(target, target)


def _copy_file(source: Path, target: Path) -> None:
    with source.open("rb") as content, atomic_file(target) as file:
        shutil.copyfileobj(content, file)
