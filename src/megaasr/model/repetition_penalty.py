"""The repetition penalty on the generated tokens of a batch's rows, not on those of their prompts.

It is that of transformers' `RepetitionPenaltyLogitsProcessor` on the generated tokens alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def penalize(
    logits: torch.Tensor, rows: Sequence[tuple[int, float, Sequence[int]]]
) -> torch.Tensor:
    """Make repetitions less probable: scores above 0 are divided, those below multiplied.

    Args:
        logits: scores of the next tokens, float of shape [rows, vocabulary]; they are changed.
        rows: index of a row, its penalty, and the tokens that it has generated so far.

    Returns:
        The same tensor.
    """
    repeated = [(row, token, scale) for row, scale, tokens in rows for token in set(tokens)]
    if not repeated:
        return logits
    row_ids, token_ids, scales = zip(*repeated, strict=True)
    indices = tuple(torch.tensor(ids, device=logits.device) for ids in (row_ids, token_ids))
    scale = torch.tensor(scales, dtype=logits.dtype, device=logits.device)
    scores = logits[indices]
    logits[indices] = torch.where(scores < 0, scores * scale, scores / scale)
    return logits
