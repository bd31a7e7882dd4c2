"""The starting model of policy optimisation: the base merged with the A2S-SFT adapter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megaasr.adapter.merge import merge_into
from megaasr.adapter.peft_layout import WEIGHTS_FILE, Adapter, is_adapter, read_adapter
from megaasr.model.hub import find_model_parts
from megaasr.model.loading import choose_device, choose_dtype, read_checkpoint
from megaasr.model.parts import fingerprint, require_parent
from megaasr.train.input_check import InputCheck
from megaasr.train.rl.recipe import RLRecipe


@dataclass(frozen=True, slots=True)
class Start:
    """The starting model.

    Attributes:
        model: native model, merged with the adapter, on its device.
        processor: processor of the model.
        base: folder of the base, without the adapter.
        adapter: adapter that was merged.
        adapter_file: file of the adapter's weights.
        fingerprint: fingerprint of the base model.
    """

    model: Any
    processor: Any
    base: Path
    adapter: Adapter
    adapter_file: Path
    fingerprint: str


def load_start(recipe: RLRecipe) -> Start:
    """Check the inputs of a recipe, and load its starting model.

    Raises:
        TrainingError: the adapter to start from, or data, are missing; all are named.
        ModelError: the base model cannot be loaded, or the adapter was trained on another one.
    """
    parts = find_model_parts(recipe.model)
    folder = recipe.adapter or parts.adapter
    _check_inputs(recipe, folder)
    assert folder is not None
    adapter = read_adapter(folder)
    require_parent(adapter, parts.base)
    device = choose_device(None)
    model, processor = read_checkpoint(parts.base, choose_dtype(device), "windowed")
    merge_into(model, adapter)
    merged: Any = model
    return Start(
        model=merged.to(device),
        processor=processor,
        base=parts.base,
        adapter=adapter,
        adapter_file=folder / WEIGHTS_FILE,
        fingerprint=fingerprint(parts.base),
    )


def _check_inputs(recipe: RLRecipe, adapter: Path | None) -> None:
    check = InputCheck()
    check.require(
        adapter is not None and is_adapter(adapter),
        f"{adapter or recipe.model} has no adapter to start from (adapter)",
        "mega-asr train sft",
    )
    grade = f"mega-asr grade CLIPS --model {recipe.model}"
    with_adapter = f" --adapter {adapter}" if adapter else ""
    check.require_data_sets("data", recipe.data, f"{grade}{with_adapter} --output FOLDER")
    check.require_data_sets("dev", recipe.dev, f"{grade} --output FOLDER")
    check.finish()
