"""Adapters: names and scales of all layouts, exact when off, routed per clip, thread-safe."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from megaasr.adapter.gated import attach
from megaasr.adapter.names import native_name
from megaasr.adapter.peft_layout import Adapter, LowRank, read_adapter
from megaasr.errors import CheckpointError, UsageError
from megaasr.model.interface import Request, Route, SamplingSettings
from megaasr.model.loading import load_model
from megaasr.model.qwen3_asr import Qwen3ASR

Q0 = "model.language_model.layers.0.self_attn.q_proj"


def write(
    folder: Path, tensors: Mapping[str, torch.Tensor], blocks: Any = None, **config: Any
) -> Path:
    """Write an adapter in PEFT's layout, of rank 4 and with alpha 8 unless `config` differs."""
    folder.mkdir(exist_ok=True)
    defaults = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(defaults | config))
    save_file(dict(tensors), folder / "adapter_model.safetensors")
    if blocks is not None:
        (folder / "mega_lora_blocks.json").write_text(json.dumps(blocks))
    return folder


def pair(key: str, rank: int = 4, inputs: int = 6, outputs: int = 5, seed: int = 0) -> Any:
    """Return random factors A and B of a layer, under PEFT's names."""
    rng = torch.Generator().manual_seed(seed)
    return {
        f"{key}.lora_A.weight": torch.randn(rank, inputs, generator=rng),
        f"{key}.lora_B.weight": torch.randn(outputs, rank, generator=rng),
    }


def dense(tensors: Any, key: str, scale: float) -> torch.Tensor:
    """Return scale * B A of a layer."""
    product: torch.Tensor = tensors[f"{key}.lora_B.weight"] @ tensors[f"{key}.lora_A.weight"]
    return scale * product


@pytest.mark.parametrize(
    ("stored", "native"),
    [
        ("base_model.model.thinker.model.layers.0.self_attn.q_proj", Q0),
        ("base_model.model.thinker.layers.0.self_attn.q_proj", Q0),
        ("thinker.model.layers.0.self_attn.q_proj", Q0),
        ("base_model.model.model.layers.0.self_attn.q_proj", Q0),
        ("base_model.model.model.language_model.layers.0.self_attn.q_proj", Q0),
        ("model.language_model.layers.0.self_attn.q_proj", Q0),
        ("layers.0.self_attn.q_proj", Q0),
        ("base_model.model.thinker.audio_tower.conv_out", "model.audio_tower.conv_out"),
        ("base_model.model.model.audio_tower.conv_out", "model.audio_tower.conv_out"),
        ("audio_tower.layers.3.fc1", "model.audio_tower.layers.3.fc1"),
        ("thinker.audio_tower.proj1", "model.multi_modal_projector.linear_1"),
        ("base_model.model.audio_tower.proj2", "model.multi_modal_projector.linear_2"),
        (
            "base_model.model.model.multi_modal_projector.linear_1",
            "model.multi_modal_projector.linear_1",
        ),
    ],
)
def test_every_naming_scheme_is_mapped(tmp_path: Path, stored: str, native: str) -> None:
    assert native_name(stored) == native
    tensors = pair(stored)
    adapter = read_adapter(write(tmp_path / "a", tensors))
    assert list(adapter.layers) == [native]
    assert torch.allclose(adapter.layers[native].delta(), dense(tensors, stored, 2.0))
    named = {key.replace(".weight", ".default.weight"): value for key, value in tensors.items()}
    assert list(read_adapter(write(tmp_path / "b", named)).layers) == [native]


def test_ranks_and_scales_by_pattern(tmp_path: Path) -> None:
    fc1 = "base_model.model.thinker.audio_tower.layers.0.fc1"
    first_q = "base_model.model.thinker.model.layers.0.self_attn.q_proj"
    tenth_q = "base_model.model.thinker.model.layers.10.self_attn.q_proj"
    tensors = {**pair(fc1, 2), **pair(first_q, 3, seed=1), **pair(tenth_q, 4, seed=2)}
    folder = write(
        tmp_path / "a",
        tensors,
        rank_pattern={"audio_tower.layers.0.fc1": 2, "thinker.model.layers.0.self_attn.q_proj": 3},
        alpha_pattern={"fc1": 1, "layers.0.self_attn.q_proj": 12},
    )
    layers = read_adapter(folder).layers
    for key, scale in ((fc1, 1 / 2), (first_q, 12 / 3), (tenth_q, 8 / 4)):
        assert torch.allclose(layers[native_name(key)].delta(), dense(tensors, key, scale))


def test_rank_stabilised_scaling(tmp_path: Path) -> None:
    tensors = pair(Q0)
    layer = read_adapter(write(tmp_path / "a", tensors, use_rslora=True)).layers[Q0]
    assert torch.allclose(layer.delta(), dense(tensors, Q0, 8 / math.sqrt(4)))


def test_blocks_along_the_rank(tmp_path: Path) -> None:
    key = "base_model.model.thinker.model.layers.0.self_attn.q_proj"
    tensors = pair(key, rank=5)
    blocks = {
        "thinker.model.layers.0.self_attn.q_proj": [
            {"start": 0, "end": 2, "rank": 2, "alpha": 4},
            {"start": 2, "end": 5, "rank": 3, "alpha": 1},
        ]
    }
    a, b = tensors[f"{key}.lora_A.weight"], tensors[f"{key}.lora_B.weight"]
    expected = 2.0 * b[:, :2] @ a[:2] + b[:, 2:] @ a[2:] / 3
    layer = read_adapter(write(tmp_path / "a", tensors, blocks, r=99)).layers[Q0]
    assert torch.allclose(layer.delta(), expected, atol=1e-6)


@pytest.mark.parametrize("ends", [(2, 4), (3, 6)])
def test_blocks_must_cover_the_rank(tmp_path: Path, ends: tuple[int, int]) -> None:
    first, last = ends
    blocks = {
        Q0: [
            {"start": 0, "end": first, "rank": 2, "alpha": 4},
            {"start": first, "end": last, "rank": 2, "alpha": 4},
        ]
    }
    with pytest.raises(CheckpointError, match="blocks"):
        read_adapter(write(tmp_path / "a", pair(Q0, rank=5), blocks))
    with pytest.raises(CheckpointError, match="which has no weights"):
        read_adapter(write(tmp_path / "b", pair(Q0), {"model.layers.7.mlp.up_proj": []}))


def test_two_names_of_a_layer_are_added(tmp_path: Path) -> None:
    """The released code does this with thinker.layers and thinker.model.layers."""
    names = "thinker.layers.0.self_attn.q_proj", "thinker.model.layers.0.self_attn.q_proj"
    first, second = (f"base_model.model.{name}" for name in names)
    tensors = {**pair(first, 2), **pair(second, 3, seed=1)}
    folder = write(
        tmp_path / "a",
        tensors,
        rank_pattern={names[0]: 2, names[1]: 3},
        alpha_pattern={names[0]: 2, names[1]: 6},
    )
    layer = read_adapter(folder).layers[Q0]
    expected = dense(tensors, first, 1) + dense(tensors, second, 2)
    assert layer.rank == 5
    assert torch.allclose(layer.delta(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias is .all.: trained biases"),
        ({"r": None}, "r is missing"),
        ({"r": 3}, "has rank 4, adapter_config.json says 3"),
    ],
)
def test_unsupported_adapters_are_refused(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_adapter(write(tmp_path / "a", pair(Q0), **config))


def test_pickles_and_damage_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", pair(Q0))
    (folder / "adapter_model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_adapter(folder)
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(CheckpointError, match="a pickle can run code"):
        read_adapter(folder)
    half = write(tmp_path / "b", {f"{Q0}.lora_A.weight": torch.zeros(4, 6)})
    with pytest.raises(CheckpointError, match="has lora_A only"):
        read_adapter(half)
    no_factor = write(tmp_path / "c", {"model.norm.weight": torch.zeros(4)})
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight is no part"):
        read_adapter(no_factor)


def test_every_layer_of_an_adapter_must_fit_the_model(random_checkpoint: Path) -> None:
    model = load_model(random_checkpoint, device="cpu").model
    layer = LowRank(torch.zeros(2, 3), torch.zeros(4, 2))
    adapter = Adapter("a", {"model.nowhere": layer, Q0: layer, "lm_head": layer}, "")
    with pytest.raises(CheckpointError) as error:
        attach(model, adapter)
    assert "model.nowhere is not in the model" in str(error.value)
    assert f"{Q0} is 32 to 32, the adapter's 3 to 4" in str(error.value)


def random_adapter(model: torch.nn.Module, rank: int = 3) -> Adapter:
    """Return an adapter of all linear layers but the head, with a clear effect on the logits."""
    rng = torch.Generator().manual_seed(5)
    layers = {
        name: LowRank(
            torch.randn(rank, module.in_features, generator=rng) / module.in_features**0.5,
            0.5 * torch.randn(module.out_features, rank, generator=rng),
        )
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    }
    return Adapter("random", layers, "")


@pytest.fixture(scope="module")
def trio(any_checkpoint: Path) -> tuple[Qwen3ASR, Qwen3ASR, Qwen3ASR]:
    """The base, the base with the adapter as side branches, and the base merged with it."""
    base = load_model(any_checkpoint, device="cpu")
    routed = load_model(any_checkpoint, device="cpu")
    merged = load_model(any_checkpoint, device="cpu")
    adapter = random_adapter(base.model)
    attach(routed.model, adapter)
    routed.adapter = adapter
    modules = dict(merged.model.named_modules())
    for name, layer in adapter.layers.items():
        modules[name].weight.data += layer.delta()  # type: ignore[union-attr, operator]
    return base, routed, merged


def requests(*routes: Route) -> list[Request]:
    rng = np.random.default_rng(1)
    lengths = (16_000, 43_210, 8_000, 150_000)
    return [
        Request((0.1 * rng.standard_normal(lengths[n % 4])).astype(np.float32), route=route)
        for n, route in enumerate(routes)
    ]


def logits(model: Qwen3ASR, batch: list[Request]) -> torch.Tensor:
    inputs = model.inputs(batch)
    with torch.no_grad(), model.routed(batch, inputs):
        result: torch.Tensor = model.model(**inputs).logits  # type: ignore[operator]
    return result


def test_off_is_the_base_bit_for_bit(trio: tuple[Qwen3ASR, Qwen3ASR, Qwen3ASR]) -> None:
    base, routed, _ = trio
    batch = requests("base", "base")
    expected = logits(base, batch)
    assert torch.equal(logits(routed, batch), expected)
    weights = {name: p.clone() for name, p in routed.model.named_parameters()}
    short = [replace(batch[0], samples=batch[0].samples[:1600])]
    robust = [replace(short[0], route="robust")]
    first = logits(routed, short)
    inputs = routed.inputs(robust)
    with torch.no_grad():
        for _ in range(1000 if routed.geometry.chunk_frames == 100 else 30):
            with routed.routed(robust, inputs):
                routed.model(**inputs)  # type: ignore[operator]
    assert torch.equal(logits(routed, short), first)
    assert torch.equal(logits(routed, batch), expected)
    assert all(torch.equal(weights[name], p) for name, p in routed.model.named_parameters())


def test_on_is_the_merged_model(trio: tuple[Qwen3ASR, Qwen3ASR, Qwen3ASR]) -> None:
    base, routed, merged = trio
    batch = requests("robust", "robust", "robust")
    robust = logits(routed, batch)
    assert (robust - logits(merged, batch)).abs().max() < 1e-4
    assert (robust - logits(base, batch)).abs().max() > 0.1


def test_a_mixed_batch_is_each_clip_by_its_own_model(
    trio: tuple[Qwen3ASR, Qwen3ASR, Qwen3ASR],
) -> None:
    base, routed, merged = trio
    for routes in (
        ("base", "robust", "base", "robust"),
        ("robust", "base", "base", "base"),
        ("base", "base", "robust"),
    ):
        batch = requests(*routes)  # type: ignore[arg-type]
        mixed = logits(routed, batch)
        inputs = routed.inputs(batch)
        of_base, of_merged = logits(base, batch), logits(merged, batch)
        for row, route in enumerate(routes):
            valid = inputs["attention_mask"][row].bool()
            if route == "base":
                assert torch.equal(mixed[row, valid], of_base[row, valid])
            else:
                assert (mixed[row, valid] - of_merged[row, valid]).abs().max() < 1e-4


def test_eight_threads_with_different_routes(trio: tuple[Qwen3ASR, Qwen3ASR, Qwen3ASR]) -> None:
    _, routed, _ = trio
    batches = [
        requests(*routes)  # type: ignore[arg-type]
        for routes in (("base",), ("robust",), ("base", "robust"), ("robust", "base"))
    ]
    expected = [logits(routed, batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: logits(routed, batches[n % 4]), range(64)))
    assert all(torch.equal(result, expected[n % 4]) for n, result in enumerate(results))


def test_texts_of_a_mixed_batch(trio: tuple[Qwen3ASR, Qwen3ASR, Qwen3ASR]) -> None:
    base, routed, merged = trio
    batch = requests("base", "robust", "robust", "base")
    outputs = [result.raw for result in routed.recognize(batch)]
    unrouted = [replace(request, route="base") for request in batch]
    assert outputs[0] == base.recognize(unrouted)[0].raw
    assert outputs[3] == base.recognize(unrouted)[3].raw
    assert outputs[1] == merged.recognize(unrouted)[1].raw
    with pytest.raises(UsageError, match="no adapter"):
        base.recognize(batch)


def test_the_robust_branch_equals_peft(random_checkpoint: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = load_model(random_checkpoint, device="cpu")
    config = peft.LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules=r".*(q_proj|fc1|conv_out|linear_1|down_proj)",
        rank_pattern={"fc1": 2},
        alpha_pattern={"layers.1.mlp.down_proj": 20},
    )
    theirs = peft.get_peft_model(load_model(random_checkpoint, device="cpu").model, config)
    rng = torch.Generator().manual_seed(1)
    for name, parameter in theirs.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=rng)
    theirs.save_pretrained(tmp_path / "adapter")
    ours = load_model(random_checkpoint, device="cpu", adapter=tmp_path / "adapter")
    batch = requests("robust", "robust")
    inputs = ours.inputs(batch)
    with torch.no_grad():
        expected = theirs(**inputs).logits
    assert (logits(ours, batch) - expected).abs().max() < 1e-5
    assert (expected - logits(base, batch)).abs().max() > 0.01


def test_samples_of_a_mixed_batch_are_each_by_their_own_model(
    trio: tuple[Qwen3ASR, Qwen3ASR, Qwen3ASR],
) -> None:
    """Of the most probable tokens alone, every sample is the greedy text of its branch."""
    base, routed, merged = trio
    greedily = SamplingSettings(samples=2, temperature=1.0, top_k=1)
    batch = requests("base", "robust", "base")
    routed.batch_size = 8  # all chunks in one forward pass
    sampled = routed.sample(batch, greedily)
    unrouted = [replace(request, route="base") for request in batch]
    for number, model in enumerate((base, merged, base)):
        (greedy,) = model.recognize([unrouted[number]])
        assert [sample.raw for sample in sampled[number]] == [greedy.raw] * 2
    with pytest.raises(UsageError, match="no adapter"):
        base.sample(batch, greedily)
