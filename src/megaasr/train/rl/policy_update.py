"""The updates of one step: from groups to tensors, to the loss, to the weights."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator

from megaasr.model.inputs import InputBuilder
from megaasr.train.rl.groups import Group
from megaasr.train.rl.policy import Policy, Prompts, make_prompts
from megaasr.train.rl.policy_loss import policy_loss
from megaasr.train.rl.recipe import RLRecipe
from megaasr.train.sums import Sums


@dataclass(slots=True)
class _Batch:
    """The tensors of one forward pass.

    Attributes:
        prompts: prompts of the clips.
        completions: token ids of the samples, int of shape [clips * samples, tokens].
        mask: 1 for tokens, 0 for padding, of the same shape.
        advantages: advantage of each sample, float of shape [clips * samples].
        weights: weight of each token in the loss, of the shape of `completions`.
        reference_logprobs: log-probabilities of the starting model; None without a KL term.
        old_logprobs: log-probabilities of the policy that drew the samples; None before the first
            iteration, in which the policy still is that one.
    """

    prompts: Prompts
    completions: torch.Tensor
    mask: torch.Tensor
    advantages: torch.Tensor
    weights: torch.Tensor
    reference_logprobs: torch.Tensor | None = None
    old_logprobs: torch.Tensor | None = None


class PolicyUpdate:
    """Updates the policy with the groups of a step.

    Args:
        accelerator: accelerator of the run.
        model: PEFT model; with its adapter disabled it is the reference of the KL divergence.
        policy: policy of the same model, not prepared by the accelerator.
        builder: builds the model's inputs.
        recipe: recipe of the run.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: Any,
        policy: Policy,
        *,
        builder: InputBuilder,
        recipe: RLRecipe,
    ) -> None:
        self._accelerator, self._model, self._policy = accelerator, model, policy
        self._builder, self._recipe = builder, recipe

    def __call__(
        self, policy: Any, optimizer: Any, scheduler: Any, groups: Sequence[Group]
    ) -> Sums:
        """Run the optimizer steps on the groups of one step.

        Args:
            policy: policy, prepared by the accelerator.
            optimizer: optimizer of its parameters.
            scheduler: schedule of the learning rate; it advances with every optimizer step.
            groups: groups of this process.

        Returns:
            Sums over the optimizer steps: seconds (`s_…`), and metrics (`m_…`). `m_kl`,
            `m_clip_fraction` and `m_entropy` are to be divided by the `m_seen` tokens, the others
            by the number of optimizer steps.
        """
        started = time.monotonic()
        batches = [self._batch(clips) for clips in self._split(groups)]
        weight = torch.stack([batch.weights.sum() for batch in batches]).sum()
        # Gradients are averaged over the processes, so each divides by the mean of their weights.
        total = self._accelerator.reduce(weight, "sum") / self._accelerator.num_processes
        self._score_reference(batches)
        sums = Sums({"s_reference": time.monotonic() - started})
        for _ in range(self._recipe.loss.iterations):
            for number, batch in enumerate(batches, 1):
                with self._gradient_sync(policy, is_last=number == len(batches)):
                    sums.add(self._backward(policy, batch, total))
            started = time.monotonic()
            norm = self._accelerator.clip_grad_norm_(
                policy.parameters(), self._recipe.gradient_norm
            )
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            sums["s_optimizer"] += time.monotonic() - started
            sums["m_gradient_norm"] += float(norm or 0.0)
        return sums

    def _backward(self, policy: Any, batch: _Batch, total: torch.Tensor) -> dict[str, float]:
        recipe = self._recipe.loss
        started = time.monotonic()
        logprobs, entropy = policy(batch.prompts, batch.completions, batch.mask)
        if batch.old_logprobs is None:
            batch.old_logprobs = logprobs.detach()
        loss = policy_loss(
            logprobs,
            batch.old_logprobs,
            batch.reference_logprobs,
            advantages=batch.advantages,
            mask=batch.weights,
            clip_low=recipe.clip_low,
            clip_high=recipe.clip_high,
            beta=recipe.beta,
            tokens_in_step=total,
        )
        forward_done = time.monotonic()
        self._accelerator.backward(loss.loss)
        tokens = float(batch.mask.sum())
        return {
            "s_forward": forward_done - started,
            "s_backward": time.monotonic() - forward_done,
            "m_loss": float(loss.loss.detach()),
            "m_kl": float(loss.kl) * tokens,
            "m_clip_fraction": float(loss.clip_fraction) * tokens,
            "m_entropy": float((entropy * batch.mask).sum()),
            "m_seen": tokens,
        }

    def _score_reference(self, batches: Sequence[_Batch]) -> None:
        if not self._recipe.loss.beta:
            return
        with torch.no_grad(), self._model.disable_adapter():
            for batch in batches:
                logprobs, _ = self._policy(batch.prompts, batch.completions, batch.mask)
                batch.reference_logprobs = logprobs

    def _gradient_sync(self, policy: Any, *, is_last: bool) -> AbstractContextManager[Any]:
        """Gradients are exchanged between processes once per optimizer step, in the last batch."""
        return nullcontext() if is_last else self._accelerator.no_sync(policy)

    def _split(self, groups: Sequence[Group]) -> list[list[Group]]:
        """Return the groups of each forward pass, of similar length; one empty pass without any."""
        ordered = sorted(groups, key=lambda group: len(group.features))
        size = self._recipe.device_batch_size
        return [ordered[first : first + size] for first in range(0, len(ordered), size)] or [[]]

    def _batch(self, groups: Sequence[Group]) -> _Batch:
        device = self._accelerator.device
        # A process without a readable clip keeps in step with the others on a second of silence.
        features = [group.features for group in groups] or [self._builder.silent_second()]
        rows = [sample.ids for group in groups for sample in group.samples]
        prompts = make_prompts(features, self._builder)
        completions, mask = self._builder.pad_completions(rows or [(self._builder.pad_id,)])
        valid = [group.valid for group in groups] or [torch.zeros(1, dtype=torch.bool)]
        weights = (mask * torch.cat(valid).unsqueeze(1)).float()
        if self._recipe.loss.aggregate == "sample":
            weights /= mask.sum(dim=1, keepdim=True)
        advantages = torch.cat([group.advantages for group in groups] or [torch.zeros(1)])
        return _Batch(
            prompts=prompts.to(device, next(self._policy.parameters()).dtype),
            completions=completions.to(device),
            mask=mask.to(device),
            advantages=advantages.to(device),
            weights=weights.to(device),
        )
