"""Ends each row of a generated batch at its own token budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import StoppingCriteria


class TokenBudgets(StoppingCriteria):
    """Stops each row of a batch at its own token budget.

    The budgets are on the device from the start: a copy for every token would wait for a GPU.

    Args:
        prompt_tokens: number of tokens before the first generated one.
        budgets: token budget of each row.
        device: device of the model.
    """

    def __init__(self, prompt_tokens: int, budgets: Sequence[int], device: torch.device) -> None:
        self._ends = torch.tensor(budgets, device=device) + prompt_tokens

    def __call__(
        self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs: Any
    ) -> torch.BoolTensor:
        """Return whether each row is done; called by `generate` in every step."""
        done: Any = input_ids.shape[1] >= self._ends
        return done  # type: ignore[no-any-return]
