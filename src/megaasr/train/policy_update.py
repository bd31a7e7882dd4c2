"""The updates of one step: drawn groups to tensors, tensors to losses, losses to weights."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator

from megaasr.train.collate import PromptTokens
from megaasr.train.policy import Policy, Prompts, make_prompts
from megaasr.train.policy_loss import policy_loss
from megaasr.train.rl_groups import Group
from megaasr.train.rl_recipe import RLRecipe
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
        tokenizer: of the model.
        recipe: of the run.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: Any,
        policy: Policy,
        tokenizer: Any,
        recipe: RLRecipe,
    ) -> None:
        self._accelerator, self._model, self._policy = accelerator, model, policy
        self._recipe = recipe
        self._tokens, self._pad = PromptTokens(tokenizer), int(tokenizer.pad_token_id)

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
        features = [one.features for one in groups] or [np.full((100, 128), -1.5, np.float32)]
        rows = [sample.ids for group in groups for sample in group.samples] or [(self._pad,)]
        prompts = make_prompts(features, self._tokens, self._pad)
        width = max(len(row) for row in rows)
        completions = torch.full((len(rows), width), self._pad, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for at, row in enumerate(rows):
            completions[at, : len(row)] = torch.tensor(row)
            mask[at, : len(row)] = 1
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
