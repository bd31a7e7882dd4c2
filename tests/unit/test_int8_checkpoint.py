"""Copies of models with 8-bit weights: the same model, in either layout, with its adapter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from megaasr.cli.main import main
from megaasr.errors import CheckpointError, UsageError
from megaasr.model.int8_checkpoint import MARKER, write_int8
from megaasr.model.interface import Request
from megaasr.model.loading import load_model, read_checkpoint, stored_choice
from megaasr.model.memory import ModelMemory
from megaasr.model.packed_int8 import PackedInt8Linear
from megaasr.model.parts import find_parts

TINY = Path(__file__).parents[2] / "src/megaasr/model/shipped/tiny"
ORIGINAL = Path(__file__).parents[1] / "golden/original_layout"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8") / "tiny"
    with pytest.raises(SystemExit) as ended:
        main(["quantize", str(TINY), "-o", str(folder)])
    assert ended.value.code == 0
    return folder


def require_same_weights(folder: Path, original: Path) -> None:
    stored = load_model(folder, device="cpu").model
    quantised = load_model(original, device="cpu", dtype="int8").model
    expected = dict(quantised.named_parameters())
    parameters = dict(stored.named_parameters())
    assert set(parameters) == set(expected)
    for name, parameter in parameters.items():
        assert parameter.dtype == expected[name].dtype, name
        assert torch.equal(parameter, expected[name]), name
    others = dict(quantised.named_modules())
    for name, module in stored.named_modules():
        if isinstance(module, PackedInt8Linear):
            assert torch.equal(module.weight, others[name].weight), name


def test_the_copy_is_what_int8_loads(copy: Path) -> None:
    require_same_weights(copy, TINY)
    weights = sum(path.stat().st_size for path in copy.glob("*.safetensors"))
    parts = find_parts(copy)
    in_memory = ModelMemory.of_parts(parts).weights_bytes("int8")
    assert weights == pytest.approx(in_memory, rel=0.05)
    assert parts.router is not None


def test_the_copy_has_the_same_branches(copy: Path) -> None:
    rng = np.random.default_rng(2)
    noise = (0.1 * rng.standard_normal(24_000)).astype(np.float32)
    requests = [Request(noise), Request(noise, route="robust")]
    expected = load_model(TINY, device="cpu", dtype="int8").recognize(requests)
    assert load_model(copy, device="cpu").recognize(requests) == expected


def test_the_layout_of_the_authors_and_several_files(tmp_path: Path) -> None:
    sharded = tmp_path / "sharded"
    shutil.copytree(ORIGINAL, sharded)
    (file,) = sharded.glob("*.safetensors")
    tensors = load_file(file)
    file.unlink()
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        name = f"model-0000{number}-of-00002.safetensors"
        save_file({key: tensors[key] for key in part}, sharded / name, {"format": "pt"})
        weight_map.update(dict.fromkeys(part, name))
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    assert write_int8(find_parts(sharded), tmp_path / "copy")
    require_same_weights(tmp_path / "copy", ORIGINAL)


def test_an_interrupted_copy_is_completed(copy: Path, tmp_path: Path) -> None:
    shutil.copytree(copy, tmp_path / "copy")
    marker = tmp_path / "copy" / MARKER
    assert not write_int8(find_parts(TINY), tmp_path / "copy")
    marker.write_text(marker.read_text().replace("true", "false"))
    (tmp_path / "copy/model.safetensors").unlink()
    (tmp_path / "copy/config.json").unlink()
    leftover = tmp_path / "copy/.model.safetensors.part"
    leftover.touch()
    assert write_int8(find_parts(TINY), tmp_path / "copy")
    require_same_weights(tmp_path / "copy", TINY)
    assert not leftover.exists()
    with pytest.raises(UsageError, match="copy of another model"):
        write_int8(find_parts(ORIGINAL), tmp_path / "copy")


def test_what_8_bit_weights_cannot_be_used_for(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has 8-bit weights, and cannot be loaded in float32"):
        load_model(copy, dtype="float32")
    assert stored_choice(copy, "cuda", None) == ("cuda", "int8")  # which is refused as ever
    assert stored_choice(copy, None, "auto") == ("cpu", "int8")
    assert stored_choice(TINY, None, None) == (None, None)
    with pytest.raises(CheckpointError, match="cannot be trained"):
        read_checkpoint(copy, torch.float32)
    with pytest.raises(UsageError, match="has 8-bit weights already"):
        write_int8(find_parts(copy), tmp_path / "again")
    with pytest.raises(UsageError, match="is the model itself"):
        write_int8(find_parts(TINY), TINY)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").touch()
    with pytest.raises(UsageError, match=r"holds notes\.txt"):
        write_int8(find_parts(TINY), tmp_path / "full")
