"""Merging an adapter into a checkpoint, in both layouts and geometries."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_adapter import logits, random_adapter, requests, write

from megaasr.adapter.merge import merge, merge_into
from megaasr.adapter.peft_layout import Adapter, LowRank, read_adapter
from megaasr.cli.main import main
from megaasr.derived_folder import MERGE_MARKER
from megaasr.errors import CheckpointError, UsageError
from megaasr.model.int8_checkpoint import write_int8
from megaasr.model.loading import load_model, read_checkpoint
from megaasr.model.parts import find_parts

ORIGINAL = Path(__file__).parents[1] / "golden" / "original_layout"


@pytest.fixture
def base(random_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(random_checkpoint, tmp_path / "base"))


def tensors_of(adapter: Adapter) -> dict[str, torch.Tensor]:
    """The tensors of an adapter's file, by their names in PEFT's layout without its prefix."""
    return {
        f"{name}.lora_{part}.weight": value
        for name, layer in adapter.layers.items()
        for part, value in (("A", layer.a), ("B", layer.b))
    }


def adapter_for(folder: Path) -> Adapter:
    return random_adapter(load_model(folder, device="cpu").model)


@pytest.mark.parametrize("base_name", ["qwen3-asr", "small", "original layout"])
def test_the_merged_model_equals_the_robust_branch(
    base_name: str, checkpoint_of: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = ORIGINAL if base_name == "original layout" else checkpoint_of(base_name)
    adapter = adapter_for(folder)
    out = tmp_path / "merged"
    assert merge(folder, adapter, out)
    tensors = {
        f"base_model.model.{name}.lora_{part}.weight": value
        for name, layer in adapter.layers.items()
        for part, value in (("A", layer.a), ("B", layer.b))
    }
    lora = write(tmp_path / "lora", tensors, r=3, lora_alpha=3)
    routed = load_model(folder, device="cpu", adapter=lora)
    robust = requests("robust", "robust")
    base = requests("base", "base")
    difference = (logits(load_model(out, device="cpu"), base) - logits(routed, robust)).abs()
    assert difference.max() < 1e-4
    assert (logits(routed, base) - logits(routed, robust)).abs().max() > 0.01
    assert (
        load_file(out / "model.safetensors").keys()
        == load_file(folder / "model.safetensors").keys()
    )


def test_weights_are_cast_once_after_the_addition(base: Path, tmp_path: Path) -> None:
    path = base / "model.safetensors"
    save_file({k: v.bfloat16() for k, v in load_file(path).items()}, path, {"format": "pt"})
    adapter = adapter_for(base)
    merge(base, adapter, tmp_path / "merged")
    before, after = load_file(path), load_file(tmp_path / "merged" / "model.safetensors")
    name = "model.audio_tower.layers.0.fc1"
    exact = before[f"{name}.weight"].float() + adapter.layers[name].delta()
    assert torch.equal(after[f"{name}.weight"], exact.bfloat16())
    assert torch.equal(
        after["model.audio_tower.ln_post.weight"], before["model.audio_tower.ln_post.weight"]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_data_type_gives_the_weights_of_a_model_that_is_loaded_in_it(
    base: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    path = base / "model.safetensors"
    save_file({k: v.half() for k, v in load_file(path).items()}, path, {"format": "pt"})
    adapter = adapter_for(base)
    merge(base, adapter, tmp_path / "merged", dtype=dtype)
    merged, _ = read_checkpoint(tmp_path / "merged", dtype)
    loaded, _ = read_checkpoint(base, dtype)
    merge_into(loaded, adapter)
    expected = loaded.state_dict()
    for name, weight in merged.state_dict().items():
        assert weight.dtype == expected[name].dtype
        assert torch.equal(weight, expected[name]), name
    with pytest.raises(UsageError, match="another base or adapter"):
        merge(base, adapter, tmp_path / "merged")


def test_only_a_folder_of_the_same_merge_is_accepted(base: Path, tmp_path: Path) -> None:
    adapter, out = adapter_for(base), tmp_path / "merged"
    assert merge(base, adapter, out)
    stamp = (out / "model.safetensors").stat().st_mtime_ns
    assert not merge(base, adapter, out)  # it is already complete
    assert (out / "model.safetensors").stat().st_mtime_ns == stamp
    another = Adapter("another", adapter.layers, "another hash")
    with pytest.raises(UsageError, match="another base or adapter"):
        merge(base, another, out)
    with pytest.raises(UsageError, match="is the base itself"):
        merge(base, adapter, base)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"but no mega_asr_merge\.json that says"):
        merge(base, adapter, foreign)
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]


def test_an_interrupted_merge_is_completed(base: Path, tmp_path: Path) -> None:
    adapter, out = adapter_for(base), tmp_path / "merged"

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(base, adapter, out, on_file=stop)
    assert json.loads((out / MERGE_MARKER).read_text())["complete"] is False
    with pytest.raises(UsageError, match="another process is at work"):
        merge(base, adapter, out, on_file=lambda *_: merge(base, adapter, out))
    assert merge(base, adapter, out)
    assert json.loads((out / MERGE_MARKER).read_text())["complete"] is True


def test_a_merge_of_a_merge_is_completed_and_may_be_quantised(base: Path, tmp_path: Path) -> None:
    adapter, out = adapter_for(base), tmp_path / "twice"
    assert merge(base, adapter, tmp_path / "once")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(tmp_path / "once", adapter, out, on_file=stop)
    (out / MERGE_MARKER).rename(out / f".mega-asr-{'0' * 8}.part")  # killed while it wrote that
    (out / "model.safetensors").unlink()
    for path in out.glob("[!.]*"):
        path.unlink()
    assert merge(tmp_path / "once", adapter, out)
    assert write_int8(find_parts(out), tmp_path / "int8")
    with pytest.raises(UsageError, match="8-bit weights, which cannot be changed"):
        merge(tmp_path / "int8", adapter, tmp_path / "never")
    with pytest.raises(UsageError, match=r"but no mega_asr_merge\.json"):
        merge(base, adapter, tmp_path / "int8")


def test_the_scale_of_an_adapter_is_a_part_of_it(base: Path, tmp_path: Path) -> None:
    tensors = tensors_of(adapter_for(base))
    assert merge(
        base, read_adapter(write(tmp_path / "a", tensors, r=3, lora_alpha=3)), tmp_path / "m"
    )
    other = read_adapter(write(tmp_path / "a", tensors, r=3, lora_alpha=1))
    with pytest.raises(UsageError, match="another base or adapter"):
        merge(base, other, tmp_path / "m")


def test_every_layer_of_the_adapter_needs_its_weight(base: Path, tmp_path: Path) -> None:
    unknown_layer = Adapter(
        "a", {"model.nowhere": LowRank(torch.zeros(1, 2), torch.zeros(2, 1))}, "x"
    )
    with pytest.raises(CheckpointError, match=r"no weight for model\.nowhere"):
        merge(base, unknown_layer, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_the_command_merges_once(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = tensors_of(adapter_for(base))
    lora = write(tmp_path / "lora", tensors, r=3, lora_alpha=3)
    (base / "README.md").write_text("what the base alone can do")
    for message in ("merged", "already holds this merge"):
        with pytest.raises(SystemExit) as ended:
            main(["merge", str(base), "--adapter", str(lora), "--output", str(tmp_path / "out")])
        assert ended.value.code == 0
        assert message in capsys.readouterr().out
    assert not (tmp_path / "out" / "README.md").exists()  # it describes the base
    with pytest.raises(SystemExit) as ended:
        main(["merge", str(base), "--output", str(tmp_path / "out2")])
    assert ended.value.code == 2
    assert "--adapter" in capsys.readouterr().err
