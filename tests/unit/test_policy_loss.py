"""DAPO's loss and the advantages against plain loops, values and gradients."""

from __future__ import annotations

import math

import pytest
import torch

from megaasr.train.rl.policy_loss import group_advantages, has_spread, policy_loss


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
    found = policy_loss(
        new,
        torch.tensor(OLD, dtype=torch.float64),
        torch.tensor(REF, dtype=torch.float64),
        torch.tensor(advantages),
        torch.tensor(MASK),
        beta=beta,
    )
    found.loss.backward()  # type: ignore[no-untyped-call]
    loss, gradient = by_hand(NEW, OLD, REF, advantages, MASK, beta)
    assert float(found.loss) == pytest.approx(loss, abs=1e-12)
    assert new.grad is not None
    assert torch.allclose(new.grad, torch.tensor(gradient, dtype=torch.float64), atol=1e-12)
    assert float(found.tokens) == 5


def test_clipping_is_wider_above_than_below() -> None:
    old = torch.zeros(1, 4)
    new = torch.tensor([[0.7, 0.79, 1.27, 1.29]]).log()
    up = policy_loss(new, old, None, torch.tensor([1.0]), torch.ones(1, 4))
    down = policy_loss(new, old, None, torch.tensor([-1.0]), torch.ones(1, 4))
    assert float(up.clip_fraction) == 0.25  # 1.29
    assert float(down.clip_fraction) == 0.5  # 0.7 and 0.79
    assert float(up.kl) == 0.0


def test_every_token_counts_the_same_in_a_step_of_several_batches() -> None:
    new, old = torch.tensor(NEW), torch.tensor(OLD)
    advantages, mask = torch.tensor([1.0, -0.5]), torch.tensor(MASK)
    whole = policy_loss(new, old, None, advantages, mask).loss
    parts = [
        policy_loss(
            new[at : at + 1],
            old[at : at + 1],
            None,
            advantages[at : at + 1],
            mask[at : at + 1],
            tokens_in_step=5.0,
        ).loss
        for at in range(2)
    ]
    assert float(sum(parts)) == pytest.approx(float(whole))


def test_nothing_to_learn_from_is_a_loss_of_zero() -> None:
    zeros = torch.zeros(2, 3)
    found = policy_loss(zeros, zeros, zeros, torch.zeros(2), zeros)
    assert float(found.loss) == 0.0
    assert torch.isfinite(found.clip_fraction)


def test_advantages_are_relative_to_the_group() -> None:
    rewards = torch.tensor([[1.0, 2.0, 3.0], [0.5, 0.5, 0.5]])
    found = group_advantages(rewards, torch.ones(2, 3, dtype=torch.bool))
    assert torch.allclose(found[0], torch.tensor([-1.0, 0.0, 1.0]), atol=1e-3)
    assert torch.equal(found[1], torch.zeros(3))
    plain = group_advantages(rewards, torch.ones(2, 3, dtype=torch.bool), scale=False)
    assert torch.allclose(plain[0], torch.tensor([-1.0, 0.0, 1.0]))


def test_samples_that_were_cut_off_move_nobody() -> None:
    rewards = torch.tensor([[1.0, 2.0, 3.0, -50.0]])
    valid = torch.tensor([[True, True, True, False]])
    found = group_advantages(rewards, valid)
    alone = group_advantages(rewards[:, :3], valid[:, :3])
    assert torch.allclose(found[:, :3], alone)
    assert float(found[0, 3]) == 0.0
    nothing = group_advantages(rewards, torch.zeros(1, 4, dtype=torch.bool))
    assert torch.equal(nothing, torch.zeros(1, 4))


def test_which_groups_teach() -> None:
    rewards = torch.tensor([[1.0, 1.0], [1.0, 0.5], [1.0, 0.5], [1.0, 0.5]])
    valid = torch.tensor([[True, True], [True, True], [True, False], [False, False]])
    assert has_spread(rewards, valid).tolist() == [False, True, False, False]
