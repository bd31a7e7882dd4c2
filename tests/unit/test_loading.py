"""Loading checkpoints: exact weights, and clear errors for everything that is not one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from megaasr.errors import CheckpointError, HubUnreachableError, ModelNotFoundError, UsageError
from megaasr.hub import HubOptions
from megaasr.model.layout import native_key, original_key
from megaasr.model.loading import choose_device, load_model


@pytest.fixture
def checkpoint(random_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(random_checkpoint, tmp_path / "copy"))


def edit_config(folder: Path, change: dict) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


def test_weights_are_loaded_exactly(checkpoint: Path) -> None:
    stored = load_file(checkpoint / "model.safetensors")
    model = load_model(str(checkpoint), device="cpu").model
    loaded = model.state_dict()
    assert set(stored) <= set(loaded)
    assert all(torch.equal(stored[name], loaded[name]) for name in stored)
    assert model.dtype == torch.float32
    assert not model.training


def test_a_folder_may_be_a_path(checkpoint: Path) -> None:
    assert load_model(checkpoint, device="cpu").name == str(checkpoint)


def test_half_an_original_config_is_refused(checkpoint: Path) -> None:
    edit_config(checkpoint, {"thinker_config": {"audio_config": {}, "text_config": {}}})
    with pytest.raises(CheckpointError, match=r"audio_config lacks num_mel_bins"):
        load_model(str(checkpoint))


def test_other_architectures_are_refused(checkpoint: Path) -> None:
    edit_config(checkpoint, {"model_type": "whisper"})
    with pytest.raises(CheckpointError, match="'whisper'"):
        load_model(str(checkpoint))


@pytest.mark.parametrize("problem", ["missing", "unexpected", "mis-shaped"])
def test_keys_must_match(checkpoint: Path, problem: str) -> None:
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    name = "model.audio_tower.layers.0.fc1.weight"
    if problem == "missing":
        del tensors[name]
    elif problem == "unexpected":
        name = "model.audio_tower.layers.9.fc1.weight"
        tensors[name] = torch.zeros(2, 2)
    else:
        tensors[name] = torch.zeros(3, 3)
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"fc1|shape|size"):
        load_model(str(checkpoint))


def test_pickles_are_refused(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    torch.save({}, checkpoint / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin is refused"):
        load_model(str(checkpoint))


def test_damaged_weights_are_a_checkpoint_error(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_model(str(checkpoint))


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{nonsense")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        load_model(str(tmp_path))
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="not a JSON object"):
        load_model(str(tmp_path))


def test_a_config_with_values_of_the_wrong_type(checkpoint: Path) -> None:
    edit_config(checkpoint, {"audio_config": "none"})
    with pytest.raises(CheckpointError, match=r"audio_config"):
        load_model(str(checkpoint))


def test_a_missing_tokenizer(checkpoint: Path) -> None:
    (checkpoint / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json missing"):
        load_model(str(checkpoint))


@pytest.mark.parametrize(
    "name",
    ["nonsense", "./no/such/folder", "/no/such/folder", "a/b/c", "n" * 300, "~nobody-here/x"],
)
def test_unknown_names(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="the shipped models are called small and tiny"):
        load_model(name)


def test_the_hub_out_of_reach_names_small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HubUnreachableError, match="use the shipped model small"):
        load_model("Qwen/Qwen3-ASR-0.6B-hf", hub=HubOptions(offline=True))


@pytest.mark.parametrize("device", ["abacus", "meta", "privateuseone"])
def test_unknown_device(device: str) -> None:
    with pytest.raises(UsageError, match=f"device {device}: not available"):
        choose_device(device)
    assert choose_device("cpu").type == "cpu"


def test_batch_size_must_be_positive(random_checkpoint: Path) -> None:
    with pytest.raises(UsageError, match="batch size 0"):
        load_model(str(random_checkpoint), batch_size=0)


def test_names_of_the_original_layout_are_those_of_the_native_one_and_back() -> None:
    folder = Path(__file__).parents[1] / "golden/original_layout"
    (file,) = folder.glob("*.safetensors")
    with safe_open(file, "pt") as stored:
        keys = list(stored.keys())
    assert keys
    assert [original_key(native_key(key)) for key in keys] == keys
