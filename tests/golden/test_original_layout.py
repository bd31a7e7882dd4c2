"""A checkpoint that the authors' package wrote, read by ours: the same ids and the same logits."""

from __future__ import annotations

import shutil
from pathlib import Path

import make_original_layout as made
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from megaasr.errors import CheckpointError
from megaasr.model.interface import Request
from megaasr.model.layout import find_layout
from megaasr.model.loading import load_model
from megaasr.model.qwen3_asr import Qwen3ASR

GOLDEN = np.load(made.FOLDER / "logits.npz")


def last_logits(model: Qwen3ASR, length_s: float) -> np.ndarray:
    inputs = model.inputs([Request(made.sound(length_s))])
    assert inputs["input_ids"][0].tolist() == GOLDEN[f"ids_{length_s}"].tolist()
    with torch.no_grad():
        return model.model(**inputs).logits[0, -1].numpy()  # type: ignore[no-any-return, operator]


@pytest.fixture(scope="module")
def with_global_attention() -> Qwen3ASR:
    return load_model(made.FOLDER, device="cpu", encoder_attention="global")


@pytest.mark.parametrize("length_s", made.LENGTHS_S)
def test_the_logits_of_the_package(with_global_attention: Qwen3ASR, length_s: float) -> None:
    logits = last_logits(with_global_attention, length_s)
    # 0.0 where this was made; sums of floats may fall differently on other processors.
    assert np.abs(logits - GOLDEN[f"logits_{length_s}"]).max() < 1e-4


def test_windows_make_a_difference_beyond_8_s() -> None:
    windowed = load_model(made.FOLDER, device="cpu")
    assert np.abs(last_logits(windowed, 2.6) - GOLDEN["logits_2.6"]).max() < 1e-4
    assert np.abs(last_logits(windowed, 9.4) - GOLDEN["logits_9.4"]).max() > 0.01


def test_it_transcribes_and_nothing_is_written(
    with_global_attention: Qwen3ASR, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(made.FOLDER, tmp_path / "original"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert find_layout(folder) == "original"
    (answer,) = load_model(folder, device="cpu").recognize([Request(made.sound(1.0))])
    assert answer.tokens > 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("thinker.audio_tower.proj1.weight", "missing keys: model.multi_modal_projector.linear_1"),
        ("thinker.model.layers.1.mlp.up_proj.weight", "missing keys: model.language_model.layers"),
    ],
)
def test_a_key_that_is_missing_is_listed(tmp_path: Path, name: str, what: str) -> None:
    folder = Path(shutil.copytree(made.FOLDER, tmp_path / "original"))
    tensors = load_file(folder / "model.safetensors")
    tensors["thinker.surplus"] = tensors.pop(name).clone()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=what) as error:
        load_model(folder, device="cpu")
    assert "surplus" in str(error.value)
