"""The weights of `small` that were trained here, without those of Whisper.

Three quarters of a complete model are Whisper's layers, which `make judge` downloads. The rest is
what a training on another machine needs in order to go on:

    python -m megaasr.train.small.trained_weights save RUN FOLDER
    python -m megaasr.train.small.trained_weights restore FOLDER RUN

RUN is like the folder of a run: the complete model in `model/`, and its phoneme classes beside it.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3ASRConfig, Qwen3ASRForConditionalGeneration

from megaasr.errors import CheckpointError
from megaasr.train.small.phoneme_ctc import HEAD_FILE
from megaasr.train.small.whisper_teacher import copy_layers, load_whisper

WEIGHTS_FILE = "trained.safetensors"
_MODEL_FILE = "model.safetensors"
_WHISPERS = ("model.audio_tower.layers.", "model.audio_tower.ln_post.")


def save_trained_weights(run: Path, output: Path) -> None:
    """Write the weights that are not Whisper's, and the model's other files.

    Args:
        run: run folder of `mega-asr train decoder`.
        output: folder for the weights.
    """
    model = run / "model"
    output.mkdir(parents=True, exist_ok=True)
    tensors = {
        k: v for k, v in load_file(model / _MODEL_FILE).items() if not k.startswith(_WHISPERS)
    }
    save_file(tensors, output / WEIGHTS_FILE, {"format": "pt"})
    _copy_settings(model, output)
    shutil.copy(run / HEAD_FILE, output / HEAD_FILE)


def restore_run(folder: Path, whisper: Path, run: Path) -> None:
    """Write the complete model, in float16, and its phoneme classes.

    Args:
        folder: folder that `save_trained_weights` wrote.
        whisper: folder with Whisper's `model.bin` (make judge).
        run: folder for both.

    Raises:
        CheckpointError: weights are missing, or do not fit together.
    """
    load_config: Any = Qwen3ASRConfig.from_pretrained
    model: Any = Qwen3ASRForConditionalGeneration(load_config(folder))
    copy_layers(load_whisper(whisper), model.model.audio_tower)
    problems = model.load_state_dict(load_file(folder / WEIGHTS_FILE), strict=False)
    missing = [k for k in problems.missing_keys if not k.startswith((*_WHISPERS, "lm_head."))]
    if missing or problems.unexpected_keys:
        raise CheckpointError(
            f"{folder / WEIGHTS_FILE} does not fit its config.json: "
            f"{missing[:3]} {problems.unexpected_keys[:3]}"
        )
    model.to(torch.float16).save_pretrained(run / "model")
    _copy_settings(folder, run / "model")
    shutil.copy(folder / HEAD_FILE, run / HEAD_FILE)


def _copy_settings(source: Path, target: Path) -> None:
    """Copy the files of a model that hold no weights: configuration, tokenizer, template."""
    for file in sorted(source.iterdir()):
        if file.suffix in {".json", ".jinja"}:
            shutil.copy(file, target / file.name)


def main(arguments: list[str] | None = None) -> None:
    """Save or restore, as the command line says."""
    parser = argparse.ArgumentParser(description="Trained weights of small, without Whisper's.")
    commands = parser.add_subparsers(dest="command", required=True)
    save = commands.add_parser("save", help="write the weights that are not Whisper's")
    save.add_argument("run", type=Path)
    save.add_argument("folder", type=Path)
    restore = commands.add_parser("restore", help="write the complete model")
    restore.add_argument("folder", type=Path)
    restore.add_argument("run", type=Path)
    restore.add_argument(
        "--whisper",
        type=Path,
        default=Path("corpus/judge/whisper-base"),
        help="folder with model.bin (make judge) [%(default)s]",
    )
    options = parser.parse_args(arguments)
    if options.command == "save":
        save_trained_weights(options.run, options.folder)
    else:
        restore_run(options.folder, options.whisper, options.run)


if __name__ == "__main__":
    main()
