"""The sizes of a vLLM engine and the form of its adapter; vLLM itself is not needed."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from command_line import mega_asr
from megaasr.adapter.peft_layout import Adapter, LowRank, read_adapter
from megaasr.errors import CheckpointError, UsageError
from megaasr.model.engine_limits import ENGINES, EngineLimits
from megaasr.model.engines import load_speech_model
from megaasr.model.geometry import AudioGeometry
from megaasr.model.hub import find_model_parts
from megaasr.model.memory import ModelMemory
from megaasr.model.released_shapes import released_config
from megaasr.model.vllm_adapter import (
    buffer_rank,
    require_loaded,
    target_names,
    vllm_layer,
    write_for_vllm,
)
from megaasr.model.vllm_sizes import plan_engine
from megaasr.score.systems import InferenceOptions, load_system, parse_systems
from megaasr.transcribe.bundle import ModelOptions

GB = 10**9
HAS_VLLM = importlib.util.find_spec("vllm") is not None


@pytest.fixture(scope="module")
def memory() -> ModelMemory:
    return ModelMemory(released_config("Qwen3-ASR-1.7B"), AudioGeometry())


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    folder = find_model_parts("tiny").adapter
    assert folder is not None
    return read_adapter(folder)


def test_more_memory_means_more_sequences_and_all_plans_fit(memory: ModelMemory) -> None:
    budgets = [7 * GB, 8 * GB, 12 * GB, 24 * GB, 80 * GB]
    plans = [
        plan_engine(memory, "bfloat16", rank=64, budget=b, device_type="cuda") for b in budgets
    ]
    counts = [plan.sizes.max_num_seqs for plan in plans]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] == 64
    for plan, budget in zip(plans, budgets, strict=True):
        assert plan.total <= budget
        assert plan.sizes.max_num_batched_tokens >= memory.prompt_tokens
        assert plan.sizes.max_model_len >= memory.prompt_tokens + memory.output_tokens


def test_the_cache_holds_every_sequence(memory: ModelMemory) -> None:
    sizes = plan_engine(memory, "bfloat16", limits=EngineLimits(max_num_seqs=16)).sizes
    tokens = memory.prompt_tokens + memory.output_tokens
    assert sizes.cache_bytes is not None
    assert sizes.cache_bytes >= memory.cache_bytes(16 * tokens, "bfloat16")


def test_on_cpus_the_cache_has_room_for_padded_heads() -> None:
    parts = find_model_parts("tiny")  # heads of 48 values, which vLLM has no kernel for
    memory = ModelMemory.of_parts(parts, time_words=False)
    limits = EngineLimits(max_num_seqs=1)
    on_cpu, on_gpu = (
        plan_engine(memory, "float32", device_type=device, limits=limits).sizes.cache_bytes
        for device in ("cpu", "cuda")
    )
    assert on_cpu is not None
    assert on_gpu is not None
    assert on_cpu == on_gpu * 64 // 48


def test_what_does_not_fit_is_refused_with_what_it_needs(memory: ModelMemory) -> None:
    with pytest.raises(UsageError, match=r"does not fit into 4\.0 GB .* needs about [0-9.]+ GB"):
        plan_engine(memory, "bfloat16", budget=4 * GB)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (EngineLimits(max_model_len=700), "max_model_len 700: a chunk of this model needs"),
        (EngineLimits(max_num_batched_tokens=100), "max_num_batched_tokens 100: the prompt"),
    ],
)
def test_sizes_too_small_for_a_chunk_are_refused(
    memory: ModelMemory, limits: EngineLimits, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plan_engine(memory, "bfloat16", limits=limits)


def test_stated_sizes_are_kept(memory: ModelMemory) -> None:
    limits = EngineLimits(
        gpu_memory_utilization=0.85,
        max_model_len=8192,
        max_num_seqs=1,
        max_num_batched_tokens=2048,
    )  # as the released inference
    arguments = plan_engine(memory, "bfloat16", limits=limits).sizes.engine_arguments()
    assert arguments == {
        "gpu_memory_utilization": 0.85,
        "max_model_len": 8192,
        "max_num_seqs": 1,
        "max_num_batched_tokens": 2048,
    }


@pytest.mark.parametrize("share", [0, -0.1, 1.01])
def test_shares_outside_0_to_1_are_refused(share: float) -> None:
    with pytest.raises(UsageError, match="gpu_memory_utilization"):
        EngineLimits(gpu_memory_utilization=share)


def test_limits_belong_to_the_engine_vllm() -> None:
    with pytest.raises(UsageError, match="sizes of the engine vllm"):
        ModelOptions(engine_limits=EngineLimits(max_num_seqs=4))
    assert (
        ModelOptions(engine="vllm", engine_limits=EngineLimits(max_num_seqs=4)).batch_size is None
    )


def test_the_engine_tells_results_of_a_model_apart() -> None:
    with pytest.raises(UsageError, match="choose one of transformers, vllm"):
        ModelOptions(engine="tensorrt")  # type: ignore[arg-type]
    identities = [ModelOptions("tiny", engine=engine).identity() for engine in ENGINES]
    assert identities[0] != identities[1]
    assert "engine" not in str(identities[0]), "files from before there were engines are resumed"


def test_a_system_of_a_benchmark_may_name_its_engine() -> None:
    specs = parse_systems(["a=tiny@robust,engine=vllm", "tiny@engine=transformers", "b=tiny"])
    assert [spec.engine for spec in specs] == ["vllm", "transformers", None]
    assert specs[0].route == "robust"
    system = load_system(specs[0], InferenceOptions(device="cpu"))
    assert system.settings["engine"] == "vllm"
    unnamed = load_system(specs[2], InferenceOptions(device="cpu", engine="vllm"))
    assert unnamed.settings["engine"] == "vllm"
    with pytest.raises(UsageError, match="the engines are transformers, vllm"):
        parse_systems(["tiny@engine=tensorrt"])


def test_every_layer_has_its_own_part_of_a_module_of_vllm(adapter: Adapter) -> None:
    parts = [vllm_layer(name) for name in adapter.layers]
    assert len(set(parts)) == len(adapter.layers) == 67
    assert vllm_layer("model.language_model.layers.3.mlp.up_proj").part == 1
    assert vllm_layer("model.multi_modal_projector.linear_2").module == "audio_tower.proj2"


def test_a_written_adapter_has_the_same_changes(adapter: Adapter, tmp_path: Path) -> None:
    name = "model.audio_tower.conv_out"
    low = adapter.layers[name]
    uneven = replace(
        adapter, layers={**adapter.layers, name: LowRank(low.a[:5].clone(), low.b[:, :5].clone())}
    )
    write_for_vllm(uneven, tmp_path)
    written = read_adapter(tmp_path)
    assert {layer.rank for layer in written.layers.values()} == {64}
    assert written.layers.keys() == uneven.layers.keys()
    for name, layer in written.layers.items():
        torch.testing.assert_close(layer.delta(), uneven.layers[name].delta())
    assert {"conv_out", "proj1", "q_proj"} <= set(target_names(adapter))


@pytest.mark.parametrize(("rank", "expected"), [(1, 1), (2, 8), (64, 64), (65, 128), (512, 512)])
def test_ranks_are_those_of_vllm(adapter: Adapter, rank: int, expected: int) -> None:
    layer = LowRank(torch.zeros(rank, 4), torch.zeros(4, rank))
    assert buffer_rank(replace(adapter, layers={"model.x": layer})) == expected


def test_too_high_a_rank_is_refused_with_the_mend(adapter: Adapter) -> None:
    layer = LowRank(torch.zeros(513, 4), torch.zeros(4, 513))
    with pytest.raises(CheckpointError, match=r"513 .* mega-asr merge"):
        buffer_rank(replace(adapter, layers={"model.x": layer}))


def test_layers_that_vllm_does_not_have_are_listed(adapter: Adapter) -> None:
    with pytest.raises(CheckpointError, match=r"conv_out .* and 62 more"):
        require_loaded(adapter, {})


@pytest.mark.skipif(HAS_VLLM, reason="vLLM is installed")
def test_without_vllm_the_message_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pip install vllm"):
        load_speech_model("tiny", engine="vllm")
    clip = next((Path(__file__).parents[2] / "src/megaasr/cli/demo_clips").glob("*.flac"))
    result = mega_asr("transcribe", clip, "--model", "tiny", "--engine", "vllm", cwd=tmp_path)
    assert result.returncode == 2
    assert "engine transformers" in result.stderr
    assert "Traceback" not in result.stderr
