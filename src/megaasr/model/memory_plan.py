"""Data type, batch size and chunk length with which a model fits into its memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from megaasr.errors import UsageError
from megaasr.model.loading import choose_dtype
from megaasr.model.memory_budget import DEFAULT_BATCH_SIZE

if TYPE_CHECKING:
    import torch

    from megaasr.model.memory import ModelMemory

OVERHEAD_BYTES = 500_000_000
"""Memory of the process besides model and chunks: Python, its libraries, router and voice-activity
detection. Measured on a CPU; on a GPU it stands for the driver's context."""

_SHORTER_CHUNKS_S = (20.0, 10.0)
"""Lengths of the longest chunk, in seconds, that are tried when nothing fits with the model's own;
shorter ones would save little and cost words."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How a model is loaded so that it fits, and what it needs then.

    Attributes:
        dtype: data type of the weights: `float32`, `bfloat16`, `float16` or `int8`.
        batch_size: number of chunks that are decoded at once, at least 1.
        weights_bytes: bytes of all weights: base, adapter and forced aligner.
        bytes_per_chunk: bytes that each chunk of a batch needs, at most.
        max_chunk_s: length of the longest chunk in seconds.
        overhead_bytes: bytes of everything else in the process.
    """

    dtype: str
    batch_size: int
    weights_bytes: int
    bytes_per_chunk: int
    max_chunk_s: float
    overhead_bytes: int = OVERHEAD_BYTES

    @property
    def total(self) -> int:
        """Bytes of weights, chunks and everything else together."""
        return self.weights_bytes + self.batch_size * self.bytes_per_chunk + self.overhead_bytes

    def __str__(self) -> str:
        """The plan as a sentence without its subject."""
        return (
            f"needs about {gigabytes(self.total)}: weights {gigabytes(self.weights_bytes)} in "
            f"{self.dtype}, {gigabytes(self.bytes_per_chunk)} per chunk of "
            f"{self.max_chunk_s:g} s in batches of {self.batch_size}, "
            f"{gigabytes(self.overhead_bytes)} for everything else"
        )


def plan_memory(
    memory: ModelMemory,
    budget: int,
    device: torch.device | str,
    *,
    dtype: str | None = None,
    batch_size: int | None = None,
) -> MemoryPlan:
    """Return the best plan that fits.

    The device's default data type is preferred to smaller ones (int8 on CPUs, float16 on GPUs
    without bfloat16), and then a large batch size, up to `DEFAULT_BATCH_SIZE`. If a single chunk
    of the model's own length does not fit, shorter ones are tried.

    Args:
        memory: what the model needs.
        budget: bytes that may be used.
        device: the device that computes, or its name.
        dtype: one of `loading.DTYPES`; None to choose.
        batch_size: number of chunks that are decoded at once, at least 1; None to choose.

    Raises:
        UsageError: nothing fits, or the device cannot use the data type; the message says how much
            the smallest choice needs, and what to do.
    """
    import torch

    device = torch.device(device)
    smallest: MemoryPlan | None = None
    for plan in _plans(memory, _dtypes(device, dtype), device, batch_size):
        if plan.total <= budget:
            return plan
        smallest = plan if smallest is None or plan.total < smallest.total else smallest
    assert smallest is not None
    raise UsageError(_advice(smallest, budget, device, dtype, batch_size))


def gigabytes(size: int) -> str:
    """Return a number of bytes in gigabytes (10⁹), with two significant digits or one decimal."""
    if size < 950_000_000:
        return f"{size / 1e9:.2g} GB"
    return f"{size / 1e9:.1f} GB"


def _dtypes(device: torch.device, dtype: str | None) -> Sequence[str]:
    """Return the data types to try, in this order."""
    preferred = str(choose_dtype(device, dtype)).removeprefix("torch.")
    if dtype is not None:
        return [preferred]
    smaller = "int8" if device.type == "cpu" else "float16"
    return [preferred] if preferred in ("bfloat16", smaller) else [preferred, smaller]


def _plans(
    memory: ModelMemory, dtypes: Sequence[str], device: torch.device, batch_size: int | None
) -> Iterator[MemoryPlan]:
    """Yield the plans, the preferred ones first."""
    sizes = range(DEFAULT_BATCH_SIZE, 0, -1) if batch_size is None else (batch_size,)
    yield from _plans_of_length(memory, memory.max_chunk_s, dtypes, device, sizes)
    if sizes[-1] == 1:
        for length_s in _SHORTER_CHUNKS_S:
            if length_s < memory.max_chunk_s:
                yield from _plans_of_length(memory, length_s, dtypes, device, (1,))


def _plans_of_length(
    memory: ModelMemory,
    max_chunk_s: float,
    dtypes: Sequence[str],
    device: torch.device,
    batch_sizes: Sequence[int],
) -> Iterator[MemoryPlan]:
    chunk = replace(memory, max_chunk_s=max_chunk_s)
    for dtype in dtypes:
        weights = memory.weights_bytes(dtype) + memory.added_bytes(dtype, device.type)
        per_chunk = chunk.chunk_bytes(dtype, device.type)
        for size in batch_sizes:
            yield MemoryPlan(dtype, size, weights, per_chunk, max_chunk_s)


def _advice(
    smallest: MemoryPlan,
    budget: int,
    device: torch.device,
    dtype: str | None,
    batch_size: int | None,
) -> str:
    """Return the message for a model that does not fit."""
    remedies = []
    if dtype is not None and smallest.dtype != "int8" and device.type == "cpu":
        remedies.append("leave out the dtype or choose int8")
    if batch_size not in (None, 1):
        remedies.append("leave out the batch size or choose a smaller one")
    remedies.append("choose a smaller model, or one without adapter or aligner")
    if device.type != "cpu":
        remedies.append("use the device cpu")
    requested = "" if dtype is None and batch_size is None else "so "
    return (
        f"the model does not fit into {gigabytes(budget)} of memory on {device}: {requested}it "
        f"{smallest}; give it more, or {'; '.join(remedies)}"
    )
