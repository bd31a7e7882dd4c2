"""Where policy optimisation starts: the base with the A2S-SFT adapter added to its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megaasr.adapter.merge import add_to
from megaasr.adapter.peft_layout import WEIGHTS_FILE, Adapter, is_adapter, read_adapter
from megaasr.errors import TrainingError
from megaasr.model.hub import find_model_parts
from megaasr.model.loading import choose_device, choose_dtype, read_checkpoint
from megaasr.model.parts import fingerprint, require_parent
from megaasr.train.rl.recipe import RLRecipe


@dataclass(frozen=True, slots=True)
class Start:
    """The starting model.

    Attributes:
        model: native, the adapter merged into it; on its device.
        processor: of the model.
        adapter: that was merged.
        adapter_file: where its weights are.
        fingerprint: of the base without it.
    """

    model: Any
    processor: Any
    adapter: Adapter
    adapter_file: Path
    fingerprint: str


def load_start(recipe: RLRecipe) -> Start:
    """Load the starting model of a recipe.

    Raises:
        TrainingError: there is no adapter to start from.
        ModelError: the base cannot be loaded, or the adapter is of another one.
    """
    parts = find_model_parts(recipe.model)
    folder = recipe.adapter or parts.adapter
    if folder is None or not is_adapter(folder):
        raise TrainingError(
            f"{folder or recipe.model} has no adapter to start from; give the recipe's `adapter` "
            "the result of mega-asr train sft"
        )
    adapter = read_adapter(folder)
    require_parent(adapter, parts.base)
    device = choose_device(None)
    model, processor = read_checkpoint(parts.base, choose_dtype(device), "windowed")
    add_to(model, adapter)
    placed: Any = model
    return Start(
        placed.to(device), processor, adapter, folder / WEIGHTS_FILE, fingerprint(parts.base)
    )
