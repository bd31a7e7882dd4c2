"""The loss of DAPO on tensors, and the advantages of groups: pure functions.

Sources: DAPO (Yu et al. 2025, arXiv 2503.14476): token-level loss, decoupled clipping, dynamic
sampling, overlong filtering; GRPO (Shao et al. 2024, arXiv 2402.03300): group-relative advantages
and the estimator of the KL divergence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

_EPSILON = 1e-4


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """The loss of a batch and what it was made of.

    Attributes:
        loss: to be minimised; a scalar with gradients.
        kl: mean estimate of the divergence from the reference, per token.
        clip_fraction: share of tokens whose ratio the clipping cut off.
        tokens: how many tokens counted.
    """

    loss: torch.Tensor
    kl: torch.Tensor
    clip_fraction: torch.Tensor
    tokens: torch.Tensor


def policy_loss(  # noqa: PLR0913 (constants by keyword)
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    reference_logprobs: torch.Tensor | None,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    beta: float = 0.04,
    tokens_in_step: torch.Tensor | float | None = None,
) -> PolicyLoss:
    """Return the token-level loss: every token of a step counts the same, whatever its sample.

    With ratio r = exp(logprob - old): minus the mean over tokens of
    min(r A, clip(r, 1 - clip_low, 1 + clip_high) A) - beta KL, where KL is estimated as
    exp(ref - logprob) - (ref - logprob) - 1.

    Args:
        logprobs: float [samples, tokens], of the model that is trained.
        old_logprobs: the same of the model that drew the samples.
        reference_logprobs: the same of the model that is not to be left; None without KL.
        advantages: float [samples].
        mask: [samples, tokens], 1 where a token counts.
        clip_low, clip_high: of the ratio, below and above 1.
        beta: weight of the divergence.
        tokens_in_step: tokens of all batches and processes in a step; None for this batch's.
    """
    mask = mask.to(logprobs.dtype)
    ratio = (logprobs - old_logprobs).exp()
    advantage = advantages.to(logprobs.dtype).unsqueeze(1)
    clipped = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    gain = torch.minimum(ratio * advantage, clipped * advantage)
    divergence = torch.zeros_like(logprobs)
    if reference_logprobs is not None:
        away = reference_logprobs - logprobs
        divergence = away.exp() - away - 1.0
    count = mask.sum()
    total = count if tokens_in_step is None else torch.as_tensor(tokens_in_step)
    per_token = -gain + beta * divergence
    cut = ((ratio < 1.0 - clip_low) & (advantage < 0)) | (
        (ratio > 1.0 + clip_high) & (advantage > 0)
    )
    seen = count.clamp(min=1.0)
    return PolicyLoss(
        (per_token * mask).sum() / total.clamp(min=1.0),
        ((divergence * mask).sum() / seen).detach(),
        ((cut * mask).sum() / seen).detach(),
        count.detach(),
    )


def group_advantages(
    rewards: torch.Tensor, valid: torch.Tensor, *, scale: bool = True
) -> torch.Tensor:
    """Return how much better each sample is than its group.

    Samples that are not valid (cut off by the token budget) have advantage 0 and do not take part
    in the mean and the spread of their group: they must not move what others are compared with.

    Args:
        rewards: float [groups, samples].
        valid: bool [groups, samples].
        scale: divide by the standard deviation of the group (GRPO, DAPO).

    Returns:
        float [groups, samples]; 0 throughout a group without spread.
    """
    weight = valid.to(rewards.dtype)
    count = weight.sum(dim=1, keepdim=True)
    mean = (rewards * weight).sum(dim=1, keepdim=True) / count.clamp(min=1.0)
    centred = (rewards - mean) * weight
    if not scale:
        return centred
    # Of the sample, as torch.std has it.
    variance = centred.square().sum(dim=1, keepdim=True) / (count - 1.0).clamp(min=1.0)
    return centred / (variance.sqrt() + _EPSILON)


def has_spread(rewards: torch.Tensor, valid: torch.Tensor, *, least: float = 1e-6) -> torch.Tensor:
    """Tell which groups teach something: bool [groups], at least two valid samples that differ.

    Args:
        rewards, valid: as for `group_advantages`.
        least: difference of the highest and the lowest reward.
    """
    highest = rewards.masked_fill(~valid, -torch.inf).amax(dim=1)
    lowest = rewards.masked_fill(~valid, torch.inf).amin(dim=1)
    return (valid.sum(dim=1) >= 2) & (highest - lowest > least)
