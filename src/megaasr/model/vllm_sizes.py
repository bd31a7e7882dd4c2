"""The sizes of a vLLM engine, computed from the model so that the engine fits into memory.

vLLM reserves what it needs when it starts: weights, buffers for the adapter, and a cache of keys
and values in blocks, which requests share. Symbols as in `memory`: s bytes of an activation, A, P
and G the tokens of the longest chunk's audio, prompt and output, V the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from megaasr.errors import UsageError
from megaasr.model.engine_limits import NO_LIMITS, EngineLimits
from megaasr.model.memory import DTYPE_BYTES
from megaasr.model.memory_plan import gigabytes

if TYPE_CHECKING:
    from megaasr.model.memory import ModelMemory

DEFAULT_MODEL_LEN = 4096
"""Tokens of prompt and output of a request: a chunk of 30 s and several pages of context."""
OVERHEAD_BYTES = 1_200_000_000
"""Memory of the process besides the engine: Python, vLLM and its libraries, router and
voice-activity detection."""
_SEQUENCES = (64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
_TOKENS_PER_SEQUENCE = 128  # of a step: prompts are long, but few of a batch begin together
_MAX_BATCHED_TOKENS = 8192
_HEAD_MULTIPLE = 32  # of the head sizes on CPUs, nearly
_BLOCK_TOKENS = 128  # of the cache, at most
_ADVICE = (
    "give it more, choose a smaller model or a smaller max_model_len, or use the engine "
    "transformers with int8"
)


@dataclass(frozen=True, slots=True)
class EngineSizes:
    """The sizes that a vLLM engine is built with.

    Attributes:
        max_model_len: tokens of prompt and output of a request.
        max_num_seqs: chunks that are decoded at once.
        max_num_batched_tokens: tokens of prompts and outputs in one step of the engine.
        cache_bytes: bytes of the cache of keys and values; None to let vLLM fill
            `gpu_memory_utilization` with it.
        gpu_memory_utilization: share of the device's memory for vLLM, 0..1; None for vLLM's own.
    """

    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    cache_bytes: int | None
    gpu_memory_utilization: float | None = None

    def engine_arguments(self) -> dict[str, Any]:
        """Return the arguments of vLLM's engine."""
        arguments: dict[str, Any] = {
            "max_model_len": self.max_model_len,
            "max_num_seqs": self.max_num_seqs,
            "max_num_batched_tokens": self.max_num_batched_tokens,
        }
        if self.cache_bytes is not None:
            arguments["kv_cache_memory_bytes"] = self.cache_bytes
        if self.gpu_memory_utilization is not None:
            arguments["gpu_memory_utilization"] = self.gpu_memory_utilization
        return arguments


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """How a vLLM engine is built so that it fits, and what it needs then.

    Attributes:
        dtype: data type of the weights: `float32`, `bfloat16` or `float16`.
        sizes: the sizes of the engine.
        weights_bytes: bytes of the base's weights.
        adapter_bytes: bytes of the adapter: its buffer in the engine, and the copy that vLLM keeps
            in main memory if this is the device.
        step_bytes: bytes of the activations of one step, at most.
        overhead_bytes: bytes of everything else in the process.
    """

    dtype: str
    sizes: EngineSizes
    weights_bytes: int
    adapter_bytes: int
    step_bytes: int
    overhead_bytes: int = OVERHEAD_BYTES

    @property
    def batch_size(self) -> int:
        """Number of chunks that are decoded at once."""
        return self.sizes.max_num_seqs

    @property
    def total(self) -> int:
        """Bytes of all parts together."""
        cache = self.sizes.cache_bytes or 0
        parts = (self.weights_bytes, self.adapter_bytes, self.step_bytes, self.overhead_bytes)
        return cache + sum(parts)

    def __str__(self) -> str:
        """The plan as a sentence without its subject."""
        sizes = self.sizes
        return (
            f"on vLLM needs about {gigabytes(self.total)}: weights {gigabytes(self.weights_bytes)} "
            f"in {self.dtype}, adapter {gigabytes(self.adapter_bytes)}, cache "
            f"{gigabytes(sizes.cache_bytes or 0)}, a step {gigabytes(self.step_bytes)}, "
            f"{gigabytes(self.overhead_bytes)} for everything else (max_num_seqs "
            f"{sizes.max_num_seqs}, max_model_len {sizes.max_model_len}, max_num_batched_tokens "
            f"{sizes.max_num_batched_tokens})"
        )


def plan_engine(
    memory: ModelMemory,
    dtype: str,
    *,
    rank: int = 0,
    budget: int | None = None,
    device_type: str = "cpu",
    limits: EngineLimits = NO_LIMITS,
    advice: str = _ADVICE,
) -> EnginePlan:
    """Return the largest engine that fits.

    Args:
        memory: what the model needs.
        dtype: data type of the weights: `float32`, `bfloat16` or `float16`.
        rank: rank of vLLM's buffers for the adapter; 0 without one.
        budget: bytes that may be used; None for no limit.
        device_type: `cpu` or `cuda`.
        limits: sizes that are not to be computed.
        advice: what to do if nothing fits.

    Raises:
        UsageError: nothing fits, or a size is too small for a chunk of the model; the message says
            what is needed, and what to do.
    """
    smallest: EnginePlan | None = None
    for plan in _plans(memory, dtype, rank, device_type, limits):
        if budget is None or plan.total <= budget:
            return plan
        smallest = plan
    assert smallest is not None
    assert budget is not None
    raise UsageError(
        f"the model does not fit into {gigabytes(budget)} of memory: it {smallest}; {advice}"
    )


def _plans(
    memory: ModelMemory, dtype: str, rank: int, device_type: str, limits: EngineLimits
) -> Iterator[EnginePlan]:
    """Yield plans, the largest first."""
    needed = memory.prompt_tokens + memory.output_tokens
    positions = int(memory.config.text_config.max_position_embeddings)
    lengths = [min(positions, length) for length in (DEFAULT_MODEL_LEN, 2048, needed)]
    if limits.max_model_len is not None:
        lengths = [limits.max_model_len]
        if not needed <= limits.max_model_len <= positions:
            raise UsageError(
                f"max_model_len {limits.max_model_len}: a chunk of this model needs {needed} "
                f"tokens, and it has {positions} positions"
            )
    counts = _SEQUENCES if limits.max_num_seqs is None else (limits.max_num_seqs,)
    for length in sorted(set(lengths), reverse=True):
        for count in counts:
            sizes = _sizes(memory, dtype, device_type, length=length, count=count, limits=limits)
            yield _plan(memory, dtype, rank, device_type, sizes)


def _sizes(
    memory: ModelMemory,
    dtype: str,
    device_type: str,
    *,
    length: int,
    count: int,
    limits: EngineLimits,
) -> EngineSizes:
    # A clip's audio enters the decoder in one step.
    least = memory.prompt_tokens
    tokens = limits.max_num_batched_tokens or min(
        _MAX_BATCHED_TOKENS, max(least, 2048 if count > 1 else 0, count * _TOKENS_PER_SEQUENCE)
    )
    if tokens < least:
        raise UsageError(
            f"max_num_batched_tokens {tokens}: the prompt of a chunk of this model has {least}"
        )
    # Every request has its own blocks, the last of them in part empty.
    needed = memory.prompt_tokens + memory.output_tokens + _BLOCK_TOKENS
    cache = memory.cache_bytes(max(length + _BLOCK_TOKENS, count * needed), dtype)
    if device_type == "cpu":  # heads are padded to a size that vLLM has a kernel for
        size = int(memory.config.text_config.head_dim)
        cache = cache // size * (-(-size // _HEAD_MULTIPLE) * _HEAD_MULTIPLE)
    sizes = EngineSizes(length, count, tokens, cache)
    if limits.gpu_memory_utilization is None:
        return sizes
    return replace(sizes, cache_bytes=None, gpu_memory_utilization=limits.gpu_memory_utilization)


def _plan(
    memory: ModelMemory, dtype: str, rank: int, device_type: str, sizes: EngineSizes
) -> EnginePlan:
    size = DTYPE_BYTES[dtype]
    # The copy holds the layers at the buffers' rank, in the weights' data type.
    copies = 2 if device_type == "cpu" else 1
    return EnginePlan(
        dtype,
        sizes,
        weights_bytes=memory.weights_bytes(dtype),
        adapter_bytes=copies * rank * memory.linear_features() * size,
        step_bytes=memory.step_bytes(dtype, sizes.max_num_batched_tokens, sizes.max_num_seqs),
    )
