"""Sampling transcripts: the interface of an engine, and the engine of transformers' native model.

An engine samples K transcripts of each clip and says which of them the token budget cut off. It
need not return log-probabilities, since the loop computes them itself. An engine on vLLM would hold
the merged weights of the current policy, and receive them before every step (`refresh`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from megaasr.model.inputs import Features, InputBuilder, end_token_ids, find_end
from megaasr.model.qwen3_asr import token_budget
from megaasr.train.rl.policy import Prompts, embed, make_prompts, positions_of
from megaasr.train.rl.recipe import SamplingRecipe


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled transcript.

    Attributes:
        ids: token ids, with the end token if there is one.
        truncated: whether the token budget cut the transcript off.
    """

    ids: tuple[int, ...]
    truncated: bool


class RolloutEngine(Protocol):
    """Samples transcripts from the current policy."""

    def refresh(self) -> None:
        """Load the current weights of the policy; called before the samples of a step."""

    def draw(
        self, features: Sequence[Features], seeds: Sequence[Sequence[int]]
    ) -> list[list[Sample]]:
        """Return the samples of each clip.

        Args:
            features: log-mel features of each clip, float32 of shape [frames, mels].
            seeds: seed of each clip. Equal seeds and weights give equal transcripts, whatever
                other clips are in the batch (up to rounding).
        """
        ...


class NativeEngine:
    """Samples with the model in training, in this process.

    Args:
        model: native model with injected adapters.
        builder: builds the model's inputs.
        recipe: settings of the sampling.
        batch_size: clips in one batch.
    """

    def __init__(
        self, model: Any, builder: InputBuilder, recipe: SamplingRecipe, batch_size: int
    ) -> None:
        self._model, self._recipe, self._batch_size = model, recipe, batch_size
        self._builder = builder
        self._ends = end_token_ids(model)
        self._warpers = LogitsProcessorList(
            [
                TemperatureLogitsWarper(recipe.temperature),
                TopKLogitsWarper(recipe.top_k),
                TopPLogitsWarper(recipe.top_p),
            ]
        )

    def refresh(self) -> None:
        """Do nothing: the weights are those of the policy itself."""

    @torch.no_grad()
    def draw(
        self, features: Sequence[Features], seeds: Sequence[Sequence[int]]
    ) -> list[list[Sample]]:
        """Return the samples of each clip; see `RolloutEngine`."""
        order = sorted(range(len(features)), key=lambda index: len(features[index]))
        samples: dict[int, list[Sample]] = {}
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            rows = self._draw_batch([features[i] for i in batch], [seeds[i] for i in batch])
            samples.update(zip(batch, rows, strict=True))
        return [samples[index] for index in range(len(features))]

    def _draw_batch(
        self, features: Sequence[Features], seeds: Sequence[Sequence[int]]
    ) -> list[list[Sample]]:
        copies = self._recipe.samples
        prompts = make_prompts(features, self._builder)
        prompts = prompts.to(self._model.device, self._model.dtype)
        budgets = [
            min(self._recipe.max_tokens, token_budget(self._builder.geometry.seconds(len(clip))))
            for clip in features
        ]
        uniforms = np.stack(
            [np.random.default_rng([*seed]).random((max(budgets), copies)) for seed in seeds], 1
        ).reshape(max(budgets), -1)
        rows = self._generate(prompts, torch.from_numpy(uniforms), budgets)
        return [rows[i * copies : (i + 1) * copies] for i in range(len(features))]

    def _generate(
        self, prompts: Prompts, uniforms: torch.Tensor, budgets: Sequence[int]
    ) -> list[Sample]:
        """Generate all copies of all clips, token by token.

        Args:
            prompts: prompts of the clips.
            uniforms: a number of 0..1 for each step and row, which decides the token.
            budgets: token budget of each clip.
        """
        copies, model = self._recipe.samples, self._model
        ends = torch.tensor(sorted(self._ends), device=model.device)
        limits = torch.tensor(budgets, device=model.device).repeat_interleave(copies)
        # The prompt is processed once for all copies of a clip.
        output = model(
            inputs_embeds=embed(model, prompts),
            attention_mask=prompts.attention,
            position_ids=positions_of(prompts.attention),
            use_cache=True,
            logits_to_keep=1,
        )
        cache = output.past_key_values
        cache.batch_repeat_interleave(copies)
        logits = output.logits[:, -1].repeat_interleave(copies, dim=0)
        attention = prompts.attention.repeat_interleave(copies, dim=0)
        position = attention.sum(dim=1, keepdim=True)
        generated: list[torch.Tensor] = []
        is_active = torch.ones(len(logits), dtype=torch.bool, device=model.device)
        for step in range(len(uniforms)):
            token = self.sample_token(logits, generated, uniforms[step])
            generated.append(torch.where(is_active, token, self._builder.pad_id))
            is_active &= ~torch.isin(token, ends) & (step + 1 < limits)
            if not is_active.any():
                break
            attention = torch.cat([attention, torch.ones_like(attention[:, :1])], dim=1)
            output = model(
                input_ids=generated[-1].unsqueeze(1),
                attention_mask=attention,
                position_ids=position + step,
                past_key_values=cache,
                use_cache=True,
            )
            logits = output.logits[:, -1]
        rows = torch.stack(generated, dim=1).tolist()
        return [self._cut(row, limit) for row, limit in zip(rows, limits.tolist(), strict=True)]

    def sample_token(
        self, logits: torch.Tensor, generated: Sequence[torch.Tensor], uniforms: torch.Tensor
    ) -> torch.Tensor:
        """Return the next token of each row, int64 of shape [rows].

        It is the first token at which the cumulative probability exceeds the row's number.

        Args:
            logits: scores of the next token, float of shape [rows, vocabulary].
            generated: earlier tokens of the rows, int64 of shape [rows] for each step.
            uniforms: a number of 0..1 for each row.
        """
        earlier = (
            torch.stack([*generated], dim=1)
            if generated
            else torch.empty((len(logits), 0), dtype=torch.long, device=logits.device)
        )
        logits = logits.float()
        if generated and self._recipe.repetition_penalty > 1:
            penalty = RepetitionPenaltyLogitsProcessor(self._recipe.repetition_penalty)
            logits = penalty(earlier, logits)
        warped = self._warpers(earlier, logits)  # type: ignore[arg-type]
        cumulative = warped.double().softmax(dim=-1).cumsum(dim=-1)
        target = uniforms.to(logits.device).unsqueeze(1) * cumulative[:, -1:]
        return (cumulative > target).to(torch.uint8).argmax(dim=-1)

    def _cut(self, row: list[int], budget: int) -> Sample:
        """Return a generated row up to and with its end token."""
        end = find_end(row, budget, self._ends)
        return Sample(tuple(row[:budget] if end is None else row[: end + 1]), end is None)
