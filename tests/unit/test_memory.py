"""What a model needs in memory: the arithmetic agrees with what is allocated."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import Qwen3ASRConfig, Qwen3ASRForConditionalGeneration

from megaasr.adapter.gated import _SideBranch
from megaasr.errors import CheckpointError, UsageError
from megaasr.hub import HubOptions
from megaasr.model.cache_argument import output_cache
from megaasr.model.geometry import AudioGeometry
from megaasr.model.hub import find_model_parts
from megaasr.model.int8 import Int8Linear
from megaasr.model.interface import Request
from megaasr.model.loading import load_model
from megaasr.model.memory import ModelMemory, stored_parameters
from megaasr.model.memory_budget import _available, _left_in_container, free_memory, parse_memory
from megaasr.model.memory_plan import OVERHEAD_BYTES, plan_memory
from megaasr.model.packed_int8 import PackedInt8Linear
from megaasr.model.qwen3_asr import Qwen3ASR
from megaasr.model.released_shapes import RELEASED_SHAPES, released_config
from megaasr.transcribe.bundle import LazyModel, ModelOptions, open_bundle

DTYPES = ("float32", "bfloat16", "float16", "int8")
GB = 10**9


class LiveBytes(TorchDispatchMode):
    """Measures the memory of all tensors that torch makes inside the block.

    Attributes:
        live: bytes of the tensors that exist now.
        peak: the most bytes that existed so far.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._sizes: dict[int, int] = {}
        self._weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for tensor in tree_iter(output):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        self.peak = max(self.peak, self.live)
        return output

    def _count(self, storage: Any) -> None:
        if id(storage) in self._sizes or storage._cdata in self._weights:
            return
        self._sizes[id(storage)] = storage.nbytes()
        self.live += storage.nbytes()
        weakref.finalize(storage, self._forget, id(storage))

    def _forget(self, identity: int) -> None:
        self.live -= self._sizes.pop(identity)


def parameter_bytes(model: Any) -> int:
    """The bytes of the parameters, and of 8-bit weights in FBGEMM's order, which are none.

    A head of 8 bits counts on all CPUs; there are some where it shares the embedding's weights.
    """
    packed = [m for m in model.modules() if isinstance(m, PackedInt8Linear)]
    sizes = [p.numel() * p.element_size() for p in model.parameters()]
    sizes += [layer.in_features * layer.out_features for layer in packed]
    head, embedding = model.lm_head, model.model.language_model.embed_tokens
    if isinstance(head, Int8Linear) and head.weight is embedding.weight:
        sizes.append(head.weight.numel())
    return sum(sizes)


def requests(memory: ModelMemory, count: int = 1) -> list[Request]:
    """Requests for chunks of the greatest length, which are noise."""
    rng = np.random.default_rng(3)
    samples = round(memory.max_chunk_s * 16_000)
    noise = (0.1 * rng.standard_normal((count, samples))).astype(np.float32)
    return [Request(chunk) for chunk in noise]


def peak_of(model: Qwen3ASR, chunks: list[Request]) -> int:
    with LiveBytes(model.model) as live:
        model.recognize(chunks)
    return live.peak


def test_live_bytes_are_measured() -> None:
    with LiveBytes(torch.nn.Identity()) as live:
        kept = torch.zeros(1000)
        freed = torch.zeros(500) + 1  # two tensors, of which the first is dropped
        view = kept[:10]
        assert live.live == 6000
        del freed, view
    assert (live.live, live.peak) == (4000, 8000)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["tiny", "small"])
def test_weights_of_shipped_models(name: str, dtype: str) -> None:
    memory = ModelMemory.of_parts(find_model_parts(name))
    loaded = load_model(name, device="cpu", dtype=dtype)
    assert memory.weights_bytes(dtype) == parameter_bytes(loaded.model)
    branches = [
        hook
        for module in loaded.model.modules()
        for hook in module._forward_hooks.values()
        if isinstance(hook, _SideBranch)
    ]
    assert bool(branches) == (name == "tiny")
    matrices = [matrix for branch in branches for matrix in (branch._down, branch._up)]
    if loaded.adapter is not None:
        matrices += [m for layer in loaded.adapter.layers.values() for m in (layer.a, layer.b)]
    assert memory.added_bytes(dtype, "cpu") == sum(m.numel() * m.element_size() for m in matrices)


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_of_random_models(any_checkpoint: Path, dtype: str) -> None:
    memory = ModelMemory.of_parts(find_model_parts(any_checkpoint))
    loaded = load_model(any_checkpoint, device="cpu", dtype=dtype)
    assert memory.weights_bytes(dtype) == parameter_bytes(loaded.model)
    assert memory.added_bytes(dtype, "cpu") == 0


def test_a_head_of_its_own_counts(random_checkpoint: Path) -> None:
    tied: Any = Qwen3ASRConfig.from_pretrained(random_checkpoint)
    untied: Any = Qwen3ASRConfig.from_pretrained(random_checkpoint, tie_word_embeddings=False)
    untied.text_config.tie_word_embeddings = False
    head = tied.text_config.vocab_size * tied.text_config.hidden_size
    sizes = [
        ModelMemory(config, AudioGeometry()).weights_bytes("float32") for config in (tied, untied)
    ]
    assert sizes[1] - sizes[0] == 4 * head
    assert sizes[1] == parameter_bytes(Qwen3ASRForConditionalGeneration(untied))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_cache_is_as_large_as_the_real_one(any_checkpoint: Path, dtype: str) -> None:
    memory = ModelMemory.of_parts(find_model_parts(any_checkpoint))
    loaded = load_model(any_checkpoint, device="cpu", dtype=dtype)
    inputs = loaded.inputs(requests(memory))
    native: Any = loaded.model
    with torch.inference_mode():
        generated = native.generate(
            **inputs, min_new_tokens=5, max_new_tokens=5, return_dict_in_generate=True
        )
    layers = output_cache(generated).layers
    tensors = [tensor for layer in layers for tensor in (layer.keys, layer.values)]
    tokens = tensors[0].shape[2]
    assert tokens == inputs["input_ids"].shape[1] + 4
    assert tokens <= memory.prompt_tokens + memory.output_tokens
    assert memory.cache_bytes(tokens, dtype) == sum(t.numel() * t.element_size() for t in tensors)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize(
    "name", ["tiny", "small", "qwen3-asr", pytest.param("random-small", marks=pytest.mark.slow)]
)
def test_a_chunk_needs_at_most_what_is_computed_and_at_least_half(
    name: str, dtype: str, checkpoint_of: Callable[[str], Path]
) -> None:
    folder = name if name in ("tiny", "small") else checkpoint_of(name.removeprefix("random-"))
    memory = ModelMemory.of_parts(find_model_parts(folder))
    model = load_model(folder, device="cpu", dtype=dtype)
    peak = peak_of(model, requests(memory))
    assert peak <= memory.chunk_bytes(dtype) <= 2 * peak


def test_a_batch_needs_at_most_as_much_as_its_chunks(random_checkpoint: Path) -> None:
    memory = ModelMemory.of_parts(find_model_parts(random_checkpoint))
    model = load_model(random_checkpoint, device="cpu")
    peak = peak_of(model, requests(memory, 3))
    assert memory.chunk_bytes("float32") < peak <= 3 * memory.chunk_bytes("float32")


def test_the_decoder_decides_when_it_is_large(random_checkpoint: Path) -> None:
    config: Any = Qwen3ASRConfig.from_pretrained(random_checkpoint)
    memory = ModelMemory(config, AudioGeometry())
    before = memory.chunk_bytes("float32")
    config.text_config.num_hidden_layers = 500
    tokens = memory.prompt_tokens + memory.output_tokens
    assert before < memory.cache_bytes(tokens, "float32") < memory.chunk_bytes("float32")


def test_damaged_files_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(b"nothing of the sort")
    with pytest.raises(CheckpointError, match="cannot be read"):
        stored_parameters(path)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8 * GB),
        ("8G", 8 * GB),
        ("8 gb", 8 * GB),
        ("7.5GiB", 7.5 * 2**30),
        ("1Ti", 2**40),
        ("512MB", 512e6),
        ("auto", None),
    ],
)
def test_sizes_as_people_write_them(text: str, size: float | None) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    "text",
    [
        *["", "8", "GB", "-8GB", "8,5GB", "8.GB", "8XB", "8GBs", "inf GB", "1e3GB", "Auto", "0GB"],
        *["8\N{KELVIN SIGN}B", "9" * 400 + "GB"],
    ],
)
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="memory"):
        parse_memory(text)


def test_free_memory_on_linux(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  9 kB\nMemAvailable:    1234 kB\n")
    assert _available(tmp_path / "meminfo") == 1234 * 1024
    assert _available(tmp_path / "nothing") is None
    assert _left_in_container(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("file 300\ninactive_file 200\n")
    assert _left_in_container(tmp_path) == 500
    (tmp_path / "memory.max").write_text("max\n")
    assert _left_in_container(tmp_path) is None


def test_free_memory_is_unknown_on_other_devices() -> None:
    with pytest.raises(UsageError, match="state a size"):
        free_memory(torch.device("mps"))


@pytest.fixture(scope="module")
def large() -> ModelMemory:
    return ModelMemory(released_config("Qwen3-ASR-1.7B"), AudioGeometry())


def test_the_released_shapes_have_the_released_sizes(large: ModelMemory) -> None:
    # 4.1 GB in 16 bit, as the files are.
    assert large.weights_bytes("bfloat16") == pytest.approx(4.08 * GB, rel=0.01)
    assert len(RELEASED_SHAPES) == 2


def test_a_plan_prefers_the_default_dtype_and_then_large_batches(large: ModelMemory) -> None:
    plans = [plan_memory(large, size * GB, "cpu") for size in (24, 10, 6, 4)]
    assert [plan.dtype for plan in plans] == ["float32", "float32", "int8", "int8"]
    assert plans[0].batch_size == plans[2].batch_size + 2 == 8
    for plan, size in zip(plans, (24, 10, 6, 4), strict=True):
        assert plan.total <= size * GB
        assert plan.batch_size == 8 or plan.total + plan.bytes_per_chunk > size * GB
    assert plans[3].total == (
        plans[3].weights_bytes + plans[3].batch_size * plans[3].bytes_per_chunk + OVERHEAD_BYTES
    )
    assert str(plans[3]).startswith("needs about 3.8 GB: weights 2.4 GB in int8, 0.47 GB per chunk")


def test_what_the_user_states_is_kept(large: ModelMemory) -> None:
    assert plan_memory(large, 24 * GB, "cpu", dtype="int8").dtype == "int8"
    assert plan_memory(large, 24 * GB, "cpu", batch_size=20).batch_size == 20
    with pytest.raises(UsageError, match=r"needs about 8\.8 GB.*float32.*choose int8"):
        plan_memory(large, 8 * GB, "cpu", dtype="float32")
    with pytest.raises(UsageError, match=r"batches of 20.*leave out the batch size"):
        plan_memory(large, 8 * GB, "cpu", batch_size=20)


def test_the_smallest_choice_is_named_when_nothing_fits(large: ModelMemory) -> None:
    with pytest.raises(UsageError, match=r"into 1\.0 GB.*3\.0 GB.*int8.*of 10 s in batches of 1"):
        plan_memory(large, GB, "cpu")


def test_chunks_are_shorter_only_if_a_single_one_does_not_fit(large: ModelMemory) -> None:
    smallest = plan_memory(large, 24 * GB, "cpu", dtype="int8", batch_size=1).total
    plans = [plan_memory(large, smallest + extra, "cpu") for extra in (0, -1, -250_000_000)]
    assert [plan.max_chunk_s for plan in plans] == [30, 20, 10]
    assert {(plan.dtype, plan.batch_size) for plan in plans} == {("int8", 1)}
    with pytest.raises(UsageError, match="of 30 s in batches of 2"):
        plan_memory(large, smallest, "cpu", batch_size=2)
    short = replace(large, max_chunk_s=15)
    assert plan_memory(short, 24 * GB, "cpu").max_chunk_s == 15


def test_plans_for_gpus(large: ModelMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert plan_memory(large, 8 * GB, "cuda").dtype == "bfloat16"
    with pytest.raises(UsageError, match="use the device cpu"):
        plan_memory(large, 4 * GB, "cuda")
    with pytest.raises(UsageError, match="int8 is for CPUs"):
        plan_memory(large, 8 * GB, "cuda", dtype="int8")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert plan_memory(large, 24 * GB, "cuda").dtype == "float32"
    assert plan_memory(large, 8 * GB, "cuda").dtype == "float16"


def test_a_model_is_loaded_as_planned() -> None:
    tiny = ModelMemory.of_parts(find_model_parts("tiny"))
    fixed = OVERHEAD_BYTES + tiny.weights_bytes("int8") + tiny.added_bytes("int8", "cpu")
    size = (fixed + 1.3 * tiny.chunk_bytes("int8")) / GB
    plans: list[object] = []
    options = ModelOptions(
        "tiny", device="cpu", memory=f"{size:.6f}GB", hub=HubOptions(offline=True)
    )
    model: Any = open_bundle(options, plans.append).model
    assert (model.model.lm_head.weight.dtype, model.batch_size) == (torch.int8, 1)
    assert len(plans) == 1


def test_recordings_are_divided_as_planned() -> None:
    tiny = ModelMemory.of_parts(find_model_parts("tiny"))
    fixed = OVERHEAD_BYTES + tiny.weights_bytes("int8") + tiny.added_bytes("int8", "cpu")
    size = (fixed + 1.1 * replace(tiny, max_chunk_s=10).chunk_bytes("int8")) / GB
    options = ModelOptions(
        "tiny", device="cpu", memory=f"{size:.6f}GB", hub=HubOptions(offline=True)
    )
    model = LazyModel(options)
    assert model.max_chunk_s() == open_bundle(options).max_chunk_s() == 10


def test_a_model_that_does_not_fit_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("megaasr.model.loading.load_model", None)
    with pytest.raises(UsageError, match=r"does not fit into 0\.1 GB"):
        LazyModel(ModelOptions("tiny", device="cpu", memory="100MB")).recognize([])


def test_the_memory_decides_what_a_transcript_depends_on() -> None:
    def identity(**fields: Any) -> Any:
        return ModelOptions("tiny", **fields).identity()

    assert identity(memory="8GB") != identity()
    assert identity(memory="8GB", dtype="int8") != identity(dtype="int8")
    with pytest.raises(UsageError, match="write a number and its unit"):
        ModelOptions("tiny", memory="8")
