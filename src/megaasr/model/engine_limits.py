"""The engines that run a model, and what a user may state of their sizes; torch is not imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from megaasr.errors import UsageError
from megaasr.model.memory_budget import DEFAULT_BATCH_SIZE

Engine = Literal["transformers", "vllm"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
VLLM_BATCH_SIZE = 64
"""Largest number of chunks that vLLM decodes at once, unless memory is short."""


def default_batch_size(engine: Engine) -> int:
    """Return the largest number of chunks that an engine decodes at once, unless one is stated."""
    return VLLM_BATCH_SIZE if engine == "vllm" else DEFAULT_BATCH_SIZE


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What the user states of an engine's sizes; None leaves one to be computed.

    The names but the first are vLLM's, which the released inference has as options, too.

    Attributes:
        memory: memory that the model may use, see `memory_budget.parse_memory`; None for no limit.
        gpu_memory_utilization: share of the device's memory for vLLM, 0..1.
        max_model_len: tokens of prompt and output of a request.
        max_num_seqs: chunks that are decoded at once.
        max_num_batched_tokens: tokens of prompts and outputs in one step of the engine.
    """

    memory: str | None = None
    gpu_memory_utilization: float | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None

    def __post_init__(self) -> None:
        share = self.gpu_memory_utilization
        if share is not None and not 0 < share <= 1:
            raise UsageError(f"gpu_memory_utilization {share}: it must be above 0 and at most 1")
        for name in ("max_model_len", "max_num_seqs", "max_num_batched_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} {value}: it must be at least 1")


NO_LIMITS = EngineLimits()
