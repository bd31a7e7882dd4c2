"""The table of data types and batch sizes with which the released models fit into memory."""

from __future__ import annotations

from megaasr.errors import UsageError
from megaasr.model.geometry import AudioGeometry
from megaasr.model.memory import ModelMemory
from megaasr.model.memory_plan import gigabytes, plan_memory
from megaasr.model.released_shapes import RELEASED_SHAPES, released_config
from megaasr.model.vllm_sizes import plan_engine

MEMORY_GB = (4, 6, 8, 12, 24)
"""Sizes of memory in the table, in gigabytes (10⁹ bytes)."""
_VLLM_RANK = 64
_COLUMNS = (("cpu", None), ("cpu", "int8"), ("cuda", "bfloat16"))


def memory_table() -> str:
    """Return two tables as Markdown: what the released models need, and what fits into memory."""
    memories = {
        name: ModelMemory(released_config(name), AudioGeometry()) for name in RELEASED_SHAPES
    }
    return f"{_needs(memories)}\n\n{_fits(memories)}"


def _needs(memories: dict[str, ModelMemory]) -> str:
    """Return the table of weights and chunks by data type."""
    lines = ["| model | weights in | weights | a chunk of 30 s |", "|---|---|---:|---:|"]
    for name, memory in memories.items():
        for dtype in ("float32", "bfloat16", "int8"):
            weights, chunk = memory.weights_bytes(dtype), memory.chunk_bytes(dtype)
            label = "bfloat16, float16" if dtype == "bfloat16" else dtype
            lines.append(f"| {name} | {label} | {gigabytes(weights)} | {gigabytes(chunk)} |")
    return "\n".join(lines)


def _fits(memories: dict[str, ModelMemory]) -> str:
    """Return the table of plans by memory."""
    lines = [
        "| memory | model | CPU | CPU with `--dtype int8` | GPU with bfloat16 | vLLM on a GPU |",
        "|---:|---|---|---|---|---|",
    ]
    for size in MEMORY_GB:
        for name, memory in memories.items():
            cells = " | ".join(_plan(memory, size, *column) for column in _COLUMNS)
            lines.append(f"| {size} GB | {name} | {cells} | {_vllm_plan(memory, size)} |")
    return "\n".join(lines)


def _plan(memory: ModelMemory, size: int, device: str, dtype: str | None) -> str:
    """Return the plan for so many gigabytes of memory, in a few words."""
    try:
        plan = plan_memory(memory, size * 10**9, device, dtype=dtype)
    except UsageError:
        return "–"
    return f"{plan.dtype}, batches of {plan.batch_size} ({gigabytes(plan.total)})"


def _vllm_plan(memory: ModelMemory, size: int) -> str:
    """Return the plan of a vLLM engine with an adapter, in a few words."""
    try:
        plan = plan_engine(
            memory, "bfloat16", rank=_VLLM_RANK, budget=size * 10**9, device_type="cuda"
        )
    except UsageError:
        return "–"
    sizes = plan.sizes
    chunks = "1 chunk" if sizes.max_num_seqs == 1 else f"{sizes.max_num_seqs} chunks"
    return f"{chunks}, {sizes.max_model_len} tokens ({gigabytes(plan.total)})"
