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
from megaasr.derived_folder import INT8_MARKER
from megaasr.errors import CheckpointError, UsageError
from megaasr.model.int8_checkpoint import write_int8
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
    marker = tmp_path / "copy" / INT8_MARKER
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


def test_a_copy_of_parts_that_changed_is_refused(tmp_path: Path) -> None:
    source, copy = tmp_path / "tiny", tmp_path / "copy"
    shutil.copytree(TINY, source)
    for path in source.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert write_int8(find_parts(source), copy)
    assert all(path.stat().st_mode & 0o200 for path in copy.rglob("*"))
    assert not write_int8(find_parts(source), copy)
    source.chmod(0o755)
    (source / "chunking.json").write_text('{"max_chunk_s": 10.0}')
    with pytest.raises(UsageError, match=r"files\.chunking\.json is unset there"):
        write_int8(find_parts(source), copy)
    (source / "chunking.json").unlink()
    config = source / "mega-asr-merged/adapter_config.json"
    config.chmod(0o644)
    config.write_text(config.read_text() + "\n")
    with pytest.raises(UsageError, match=r"parts\.mega-asr-merged/adapter_config\.json"):
        write_int8(find_parts(source), copy)


def test_a_copy_within_its_model_is_refused(copy: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    shutil.copytree(copy.parent / "tiny/mega-asr-merged", packed / "mega-asr-merged")
    shutil.copytree(TINY, packed / "base", ignore=shutil.ignore_patterns("*/"))
    for output in (packed / "int8", packed / "base/deep/int8"):
        with pytest.raises(UsageError, match="is within the model"):
            write_int8(find_parts(packed), output)
    assert write_int8(find_parts(packed / "base"), tmp_path / "beside")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("truncated", "is damaged: it should have"),
        ("no object", "is damaged: its header is not a JSON object"),
        ("no adapter weights", "has no adapter_model"),
        ("gptq", "quantised by gptq, which is not supported"),
    ],
)
def test_damaged_models_are_refused_before_anything_is_written(
    tmp_path: Path, damage: str, message: str
) -> None:
    source = tmp_path / "tiny"
    shutil.copytree(TINY, source)
    weights = source / "model.safetensors"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:3_000_000])
    elif damage == "no object":
        weights.write_bytes((5).to_bytes(8, "little") + b"[1,2]")
    elif damage == "no adapter weights":
        (source / "mega-asr-merged/adapter_model.safetensors").unlink()
    else:
        config = json.loads((source / "config.json").read_text())
        config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
        (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        write_int8(find_parts(source), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("original", [True, False])
def test_a_configuration_may_say_that_nothing_is_quantised(
    tmp_path: Path, *, original: bool
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(ORIGINAL if original else TINY, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": None}))
    assert load_model(folder, device="cpu").dtype == torch.float32


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
