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
    """The loss of a batch and its parts.

    Attributes:
        loss: the loss to minimise, a scalar with gradients.
        kl: mean estimate per token of the KL divergence from the reference model.
        clip_fraction: share of tokens whose ratio was clipped.
        tokens: number of tokens in the loss.
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
    """Return the token-level loss: all tokens of a step have equal weight, whatever their sample.

    With the ratio r = exp(logprob - old) and the advantage A, the loss is minus the mean over
    tokens of min(r A, clip(r, 1 - clip_low, 1 + clip_high) A) - beta KL. KL is estimated as
    exp(ref - logprob) - (ref - logprob) - 1.

    Args:
        logprobs: log-probabilities of the model in training, float of shape [samples, tokens].
        old_logprobs: those of the model that drew the samples.
        reference_logprobs: those of the model that training must stay close to; None without KL.
        advantages: advantage of each sample, float of shape [samples].
        mask: weight of each token, 0 for padding, of shape [samples, tokens].
        clip_low: how far below 1 the ratio is clipped.
        clip_high: how far above 1 the ratio is clipped.
        beta: weight of the KL divergence.
        tokens_in_step: total weight of the tokens of a step, over all its batches and processes;
            None for that of this batch.
    """
    mask = mask.to(logprobs.dtype)
    ratio = (logprobs - old_logprobs).exp()
    advantage = advantages.to(logprobs.dtype).unsqueeze(1)
    clipped = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    gain = torch.minimum(ratio * advantage, clipped * advantage)
    divergence = torch.zeros_like(logprobs)
    if reference_logprobs is not None:
        log_ratio = reference_logprobs - logprobs
        divergence = log_ratio.exp() - log_ratio - 1.0
    count = mask.sum()
    total = count if tokens_in_step is None else torch.as_tensor(tokens_in_step)
    per_token = -gain + beta * divergence
    was_clipped = ((ratio < 1.0 - clip_low) & (advantage < 0)) | (
        (ratio > 1.0 + clip_high) & (advantage > 0)
    )
    divisor = count.clamp(min=1.0)
    return PolicyLoss(
        (per_token * mask).sum() / total.clamp(min=1.0),
        ((divergence * mask).sum() / divisor).detach(),
        ((was_clipped * mask).sum() / divisor).detach(),
        count.detach(),
    )


def group_advantages(
    rewards: torch.Tensor, valid: torch.Tensor, *, scale: bool = True
) -> torch.Tensor:
    """Return how much better each sample is than the mean of its group.

    Samples that are not valid (cut off by the token budget) have advantage 0 and are excluded from
    the mean and the standard deviation of their group, so that they do not shift the baseline.

    Args:
        rewards: float of shape [groups, samples].
        valid: bool of shape [groups, samples].
        scale: whether to divide by the standard deviation of the group (GRPO, DAPO).

    Returns:
        Float of shape [groups, samples]; 0 throughout a group with equal rewards.
    """
    weight = valid.to(rewards.dtype)
    count = weight.sum(dim=1, keepdim=True)
    mean = (rewards * weight).sum(dim=1, keepdim=True) / count.clamp(min=1.0)
    centred = (rewards - mean) * weight
    if not scale:
        return centred
    # The variance of a sample, as in torch.std.
    variance = centred.square().sum(dim=1, keepdim=True) / (count - 1.0).clamp(min=1.0)
    return centred / (variance.sqrt() + _EPSILON)


def has_reward_variance(
    rewards: torch.Tensor, valid: torch.Tensor, *, min_range: float = 1e-6
) -> torch.Tensor:
    """Tell which groups can be learnt from: those with two valid samples whose rewards differ.

    Args:
        rewards: float of shape [groups, samples].
        valid: bool of shape [groups, samples].
        min_range: difference of the highest and the lowest reward that must be exceeded.

    Returns:
        Bool of shape [groups].
    """
    highest = rewards.masked_fill(~valid, -torch.inf).amax(dim=1)
    lowest = rewards.masked_fill(~valid, torch.inf).amin(dim=1)
    return (valid.sum(dim=1) >= 2) & (highest - lowest > min_range)
