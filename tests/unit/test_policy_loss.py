"""DAPO's loss and the advantages against plain loops, values and gradients."""

from __future__ import annotations

import math

import pytest
import torch

from megaasr.train.rl.policy_loss import group_advantages, has_reward_variance, policy_loss


def by_hand(
    new: list[list[float]],
    old: list[list[float]],
    ref: list[list[float]],
    advantages: list[float],
    mask: list[list[int]],
    beta: float,
) -> tuple[float, list[list[float]]]:
    """The loss and its gradient in `new`, token by token."""
    tokens = sum(map(sum, mask))
    loss = 0.0
    gradient = [[0.0] * len(row) for row in new]
    for i, row in enumerate(new):
        for t, logprob in enumerate(row):
            if not mask[i][t]:
                continue
            ratio, a = math.exp(logprob - old[i][t]), advantages[i]
            bounded = min(max(ratio, 0.8), 1.28)
            away = ref[i][t] - logprob
            gain = min(ratio * a, bounded * a)
            loss += (-gain + beta * (math.exp(away) - away - 1)) / tokens
            slope = ratio * a if ratio * a <= bounded * a else 0.0
            gradient[i][t] = (-slope + beta * (1 - math.exp(away))) / tokens
    return loss, gradient


NEW = [[-0.5, -1.0, -0.1], [-2.0, -0.3, -0.7]]
OLD = [[-0.9, -1.0, -0.5], [-1.2, -0.2, -0.7]]  # ratios 1.49, 1, 1.49; 0.45, 0.9, 1
REF = [[-0.6, -1.3, -0.1], [-1.8, -0.3, -0.2]]
MASK = [[1, 1, 0], [1, 1, 1]]


@pytest.mark.parametrize("advantages", [[1.0, -0.5], [-1.0, 2.0]])
@pytest.mark.parametrize("beta", [0.0, 0.04, 1.0])
def test_values_and_gradients(advantages: list[float], beta: float) -> None:
    new = torch.tensor(NEW, dtype=torch.float64, requires_grad=True)
    result = policy_loss(
        new,
        torch.tensor(OLD, dtype=torch.float64),
        torch.tensor(REF, dtype=torch.float64),
        torch.tensor(advantages),
        torch.tensor(MASK),
        beta=beta,
    )
    result.loss.backward()  # type: ignore[no-untyped-call]
    loss, gradient = by_hand(NEW, OLD, REF, advantages, MASK, beta)
    assert float(result.loss) == pytest.approx(loss, abs=1e-12)
    assert new.grad is not None
    assert torch.allclose(new.grad, torch.tensor(gradient, dtype=torch.float64), atol=1e-12)
    assert float(result.tokens) == 5


def test_clipping_is_wider_above_than_below() -> None:
    old = torch.zeros(1, 4)
    new = torch.tensor([[0.7, 0.79, 1.27, 1.29]]).log()
    up = policy_loss(new, old, None, torch.tensor([1.0]), torch.ones(1, 4))
    down = policy_loss(new, old, None, torch.tensor([-1.0]), torch.ones(1, 4))
    assert float(up.clip_fraction) == 0.25  # 1.29
    assert float(down.clip_fraction) == 0.5  # 0.7 and 0.79
    assert float(up.kl) == 0.0


def test_all_tokens_of_a_step_have_equal_weight_in_several_batches() -> None:
    new, old = torch.tensor(NEW), torch.tensor(OLD)
    advantages, mask = torch.tensor([1.0, -0.5]), torch.tensor(MASK)
    expected = policy_loss(new, old, None, advantages, mask).loss
    parts = [
        policy_loss(
            new[row : row + 1],
            old[row : row + 1],
            None,
            advantages[row : row + 1],
            mask[row : row + 1],
            tokens_in_step=5.0,
        ).loss
        for row in range(2)
    ]
    assert float(sum(parts)) == pytest.approx(float(expected))


def test_the_loss_of_an_empty_batch_is_zero() -> None:
    zeros = torch.zeros(2, 3)
    result = policy_loss(zeros, zeros, zeros, torch.zeros(2), zeros)
    assert float(result.loss) == 0.0
    assert torch.isfinite(result.clip_fraction)


def test_advantages_are_relative_to_the_group() -> None:
    rewards = torch.tensor([[1.0, 2.0, 3.0], [0.5, 0.5, 0.5]])
    advantages = group_advantages(rewards, torch.ones(2, 3, dtype=torch.bool))
    assert torch.allclose(advantages[0], torch.tensor([-1.0, 0.0, 1.0]), atol=1e-3)
    assert torch.equal(advantages[1], torch.zeros(3))
    plain = group_advantages(rewards, torch.ones(2, 3, dtype=torch.bool), scale=False)
    assert torch.allclose(plain[0], torch.tensor([-1.0, 0.0, 1.0]))


def test_truncated_samples_do_not_affect_the_advantages() -> None:
    rewards = torch.tensor([[1.0, 2.0, 3.0, -50.0]])
    valid = torch.tensor([[True, True, True, False]])
    advantages = group_advantages(rewards, valid)
    alone = group_advantages(rewards[:, :3], valid[:, :3])
    assert torch.allclose(advantages[:, :3], alone)
    assert float(advantages[0, 3]) == 0.0
    without_valid = group_advantages(rewards, torch.zeros(1, 4, dtype=torch.bool))
    assert torch.equal(without_valid, torch.zeros(1, 4))


def test_groups_with_reward_variance() -> None:
    rewards = torch.tensor([[1.0, 1.0], [1.0, 0.5], [1.0, 0.5], [1.0, 0.5]])
    valid = torch.tensor([[True, True], [True, True], [True, False], [False, False]])
    assert has_reward_variance(rewards, valid).tolist() == [False, True, False, False]
