"""The updates of one step: drawn groups to tensors, tensors to losses, losses to weights."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator

from megaasr.model.inputs import InputBuilder
from megaasr.train.rl.groups import Group
from megaasr.train.rl.policy import Policy, Prompts, make_prompts
from megaasr.train.rl.policy_loss import policy_loss
from megaasr.train.rl.recipe import RLRecipe
from megaasr.train.sums import Sums


class _Batch(NamedTuple):
    """One forward pass: clips, their transcripts, and what these count for."""

    prompts: Prompts
    completions: torch.Tensor
    mask: torch.Tensor
    advantages: torch.Tensor
    weights: torch.Tensor


class PolicyUpdate:
    """Learns from the groups of a step.

    Args:
        accelerator: of the run.
        model: with its PEFT adapter; without it, it is the reference of the KL divergence.
        policy: over the same model, as it is; `prepare` gives the one that learns.
        builder: makes the model's inputs.
        recipe: of the run.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: Any,
        policy: Policy,
        builder: InputBuilder,
        recipe: RLRecipe,
    ) -> None:
        self._accelerator, self._model, self._policy = accelerator, model, policy
        self._builder, self._recipe = builder, recipe

    def __call__(
        self, trained: Any, optimizer: Any, scheduler: Any, groups: Sequence[Group]
    ) -> Sums:
        """Make the updates of a step.

        Args:
            trained: the policy, prepared by the accelerator.
            optimizer: of its parameters.
            scheduler: of the learning rate, moved on with every update.
            groups: of this process.

        Returns:
            Sums over the updates: seconds (`s_`), and measures (`m_`) to be divided by `m_seen`
            tokens or by the updates.
        """
        began = time.monotonic()
        batches = [self._batch(some) for some in self._split(groups)]
        counts = torch.stack([batch.weights.sum() for batch in batches]).sum()
        # Gradients are averaged over the processes, so each divides by its share of the whole.
        total = self._accelerator.reduce(counts, "sum") / self._accelerator.num_processes
        references = self._references(batches)
        spent = Sums({"s_reference": time.monotonic() - began})
        old: list[torch.Tensor] = []
        for _ in range(self._recipe.loss.iterations):
            for at, batch in enumerate(batches):
                with self._syncing(trained, last=at + 1 == len(batches)):
                    spent.add(self._backward(trained, batch, old, references, at, total))
            clock = time.monotonic()
            norm = self._accelerator.clip_grad_norm_(
                trained.parameters(), self._recipe.gradient_norm
            )
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            spent["s_optimizer"] += time.monotonic() - clock
            spent["m_gradient_norm"] += float(norm or 0.0)
        return spent

    def _backward(
        self,
        trained: Any,
        batch: _Batch,
        old: list[torch.Tensor],
        references: list[torch.Tensor] | None,
        at: int,
        total: torch.Tensor,
    ) -> dict[str, float]:
        loss = self._recipe.loss
        began = time.monotonic()
        logprobs, entropy = trained(batch.prompts, batch.completions, batch.mask)
        if at == len(old):
            # In the first iteration the policy is still the one that drew the samples.
            old.append(logprobs.detach())
        found = policy_loss(
            logprobs,
            old[at],
            references[at] if references else None,
            batch.advantages,
            batch.weights,
            clip_low=loss.clip_low,
            clip_high=loss.clip_high,
            beta=loss.beta,
            tokens_in_step=total,
        )
        forward_at = time.monotonic()
        self._accelerator.backward(found.loss)
        seen = float(batch.mask.sum())
        return {
            "s_forward": forward_at - began,
            "s_backward": time.monotonic() - forward_at,
            "m_loss": float(found.loss.detach()),
            "m_kl": float(found.kl) * seen,
            "m_clip_fraction": float(found.clip_fraction) * seen,
            "m_entropy": float((entropy * batch.mask).sum()),
            "m_seen": seen,
        }

    def _references(self, batches: Sequence[_Batch]) -> list[torch.Tensor] | None:
        if not self._recipe.loss.beta:
            return None
        with torch.no_grad(), self._model.disable_adapter():
            return [
                self._policy(batch.prompts, batch.completions, batch.mask)[0] for batch in batches
            ]

    def _syncing(self, trained: Any, *, last: bool) -> AbstractContextManager[Any]:
        """Gradients travel between processes once for each update."""
        return nullcontext() if last else self._accelerator.no_sync(trained)

    def _split(self, groups: Sequence[Group]) -> list[list[Group]]:
        """Return the groups of each forward pass, of like length; at least one, perhaps empty."""
        order = sorted(groups, key=lambda one: len(one.features))
        size = self._recipe.device_batch_size
        return [order[at : at + size] for at in range(0, len(order), size)] or [[]]

    def _batch(self, groups: Sequence[Group]) -> _Batch:
        device = self._accelerator.device
        # A process without a readable clip keeps in step with the others on a silent second.
        features = [group.features for group in groups] or [self._builder.silent_second()]
        rows = [sample.ids for group in groups for sample in group.samples]
        prompts = make_prompts(features, self._builder)
        completions, mask = self._builder.pad_completions(rows or [(self._builder.pad_id,)])
        valid = [one.valid for one in groups] or [torch.zeros(1, dtype=torch.bool)]
        weights = (mask * torch.cat(valid).unsqueeze(1)).float()
        if self._recipe.loss.aggregate == "sample":
            weights /= mask.sum(dim=1, keepdim=True)
        advantages = torch.cat([one.advantages for one in groups] or [torch.zeros(1)])
        return _Batch(
            prompts.to(device, next(self._policy.parameters()).dtype),
            completions.to(device),
            mask.to(device),
            advantages.to(device),
            weights.to(device),
        )
