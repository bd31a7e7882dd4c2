"""The repetition penalty of the engine vllm against transformers' on the generated tokens."""

from __future__ import annotations

import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor

from megaasr.model.repetition_penalty import penalize


@pytest.mark.parametrize("penalty", [1.08, 2.0, 0.5])
def test_a_row_has_the_scores_of_transformers(penalty: float) -> None:
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(1))
    generated = [[3, 7, 3, 49], [], [0], [7, 7, 7]]
    expected = logits.clone()
    for row, tokens in enumerate(generated):
        if tokens and row != 2:
            processor = RepetitionPenaltyLogitsProcessor(penalty)
            ids: torch.LongTensor = torch.tensor([tokens])  # type: ignore[assignment]
            scores: torch.FloatTensor = logits[row : row + 1].clone()  # type: ignore[assignment]
            expected[row] = processor(ids, scores)[0]
    rows = [(row, penalty, tokens) for row, tokens in enumerate(generated) if row != 2]
    assert torch.equal(penalize(logits.clone(), rows), expected)


def test_rows_have_their_own_penalties() -> None:
    logits = torch.tensor([[2.0, -2.0], [2.0, -2.0]])
    penalized = penalize(logits, [(0, 2.0, [0, 1]), (1, 4.0, [0])])
    assert penalized is logits
    assert penalized.tolist() == [[1.0, -4.0], [0.5, -2.0]]


def test_without_generated_tokens_nothing_changes() -> None:
    logits = torch.ones(2, 3)
    assert penalize(logits, []).tolist() == penalize(logits, [(0, 2.0, [])]).tolist()
    assert (logits == 1).all()
