"""A training run's folder: recipe, metrics, checkpoints, the finished model.

recipe.json       the resolved recipe; another recipe is refused (steps may grow)
versions.json     the libraries' versions and the machine
data.json         the hash of the training manifest; another one is refused
metrics.jsonl     one line per report
curves.png        the metrics as a picture
checkpoint.pt     everything needed to go on, replaced atomically
model/            the model, once finished
"""

from __future__ import annotations

import copy
import json
import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from transformers import Qwen3ASRForConditionalGeneration, Qwen3ASRProcessor

from megaasr.atomic import atomic_file, remove_leftovers, write_atomically
from megaasr.config import Recipe
from megaasr.errors import TrainingError
from megaasr.folder_claim import FolderClaim
from megaasr.hashing import file_sha256
from megaasr.versions import package_version

# Fields that may change between two sittings of the same run.
_FREE_FIELDS = (
    "steps",
    "checkpoint_s",
    "log_steps",
    "evaluate_steps",
    "evaluate_clips",
    "corpus",
    "data",
    "dev",
    "checkpoint_steps",
    "loader_workers",
    "device_batch_size",
)


class RunFolder:
    """The files of one run; only the main process writes."""

    def __init__(self, folder: Path, recipe: Recipe, *, main: bool = True) -> None:
        self.folder = folder
        self._main = main
        if main:
            folder.mkdir(parents=True, exist_ok=True)
        self._claim(recipe)
        if main:
            remove_leftovers(folder)
            write_atomically(folder / "versions.json", json.dumps(_versions(), indent=2))

    def claim_data(self, *manifests: Path) -> None:
        """Note the training manifests' hashes, or check that they are still the same.

        Raises:
            TrainingError: the run was started on other data; tokenizer and phonemes would differ.
        """
        hashes = {
            (path.name if len(manifests) == 1 else f"{number} {path.name}"): file_sha256(path)
            for number, path in enumerate(manifests, 1)
        }
        mismatch = f"was started on other data than {_named(manifests)}"
        claim = FolderClaim(self.folder, "data.json", mismatch, error=TrainingError)
        recorded = claim.read()
        if recorded is not None:
            claim.require_same(recorded, hashes)
        if self._main:
            write_atomically(claim.path, json.dumps(hashes, indent=2))

    def log(self, row: dict[str, Any]) -> None:
        """Append a line to the metrics."""
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")

    def forget_after(self, step: int) -> None:
        """Drop metrics of later steps, which will be made again."""
        forget_rows_after(self.folder / "metrics.jsonl", step)

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint; a kill at any moment leaves the old or the new one whole."""
        with atomic_file(self.folder / "checkpoint.pt") as file:
            torch.save(state, file)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Return the last checkpoint, its tensors on the CPU, or None in a new folder."""
        path = self.folder / "checkpoint.pt"
        if not path.is_file():
            return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state

    def export(self, model: Qwen3ASRForConditionalGeneration, processor: Qwen3ASRProcessor) -> None:
        """Write the finished model in transformers' native layout, in 16 bit."""
        half: Any = copy.deepcopy(model)
        half.to(torch.float16).save_pretrained(self.folder / "model")
        processor.save_pretrained(self.folder / "model")

    def _claim(self, recipe: Recipe) -> None:
        """Check that the folder belongs to this recipe, free fields aside, and write it there."""
        mismatch = "holds a run of another recipe"
        claim = FolderClaim(self.folder, "recipe.json", mismatch, error=TrainingError)
        recorded = claim.read()
        if recorded is not None:
            before, now = _complete(type(recipe), recorded), json.loads(recipe.resolved_json())
            claim.require_same(_without_free_fields(before), _without_free_fields(now))
        if self._main:
            write_atomically(claim.path, recipe.resolved_json())


def _without_free_fields(recipe: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in recipe.items() if name not in _FREE_FIELDS}


def _complete(kind: type[Recipe], written: dict[str, Any]) -> dict[str, Any]:
    """Return a run's recipe with the fields that came later: their defaults are what it ran on."""
    try:
        complete: dict[str, Any] = json.loads(kind.model_validate(written).resolved_json())
    except ValidationError:  # another kind of recipe, or of another version
        return written
    return complete


def _named(paths: Sequence[Path]) -> str:
    shown = ", ".join(str(one) for one in paths[:2])
    return f"{shown} and {len(paths) - 2} more" if len(paths) > 2 else shown


def _versions() -> dict[str, str | int | None]:
    packages = ("megaasr", "torch", "transformers", "tokenizers", "accelerate", "peft", "numpy")
    return {
        **{name: package_version(name) for name in packages},
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint that was written to its end."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda one: int(one.name.split("-")[1]))
    for one in reversed(found):
        # The trainer writes this file last; a kill may have cut it off.
        if read_json(one / "trainer_state.json") is not None:
            return str(one)
        shutil.rmtree(one, ignore_errors=True)
    return None


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON object from a file; None if there is none, or it was cut off."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def forget_rows_after(path: Path, step: int) -> None:
    """Drop the lines of a JSONL file whose `step` is later; a line that was cut off goes too."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if row.get("step", 0) <= step:
            kept.append(line + "\n")
    write_atomically(path, "".join(kept))
