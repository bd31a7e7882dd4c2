"""The repetition penalty for vLLM, whose own also counts the tokens of the prompt.

Importing this module requires vLLM; `vllm_offline` imports it when an engine is started.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from vllm.v1.sample.logits_processor import (
    BatchUpdate,
    LogitsProcessor,
    process_dict_updates,
)

from megaasr.model.repetition_penalty import penalize

ARGUMENT = "megaasr_repetition_penalty"
"""Name of the penalty among the extra arguments of a request."""


class GeneratedTokensPenalty(LogitsProcessor):  # type: ignore[misc]
    """Penalises the tokens that a request has generated, before temperature and cuts."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        # By row of the batch; vLLM extends the list of tokens itself.
        self._requests: dict[int, tuple[float, Sequence[int]]] = {}

    def is_argmax_invariant(self) -> bool:
        """Return False: the most probable token may be another one."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the requests to the rows of the next batch."""
        process_dict_updates(self._requests, batch_update, _penalty_of)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the scores with the penalties, float of shape [rows, vocabulary]."""
        return penalize(logits, [(row, *state) for row, state in self._requests.items()])


def _penalty_of(
    params: Any, prompt: Sequence[int] | None, generated: Sequence[int]
) -> tuple[float, Sequence[int]] | None:
    """Return the penalty of a request and its tokens so far; None without a penalty."""
    penalty = (params.extra_args or {}).get(ARGUMENT)
    return None if penalty is None else (float(penalty), generated)
