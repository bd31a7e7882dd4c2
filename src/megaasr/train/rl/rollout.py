"""Drawing transcripts: the interface of an engine, and the engine on transformers' native model.

An engine is anything that draws `samples` transcripts for each clip and says which of them were cut
off; the loop computes log-probabilities itself, so an engine need not. One on vLLM would hold the
merged weights of the current policy and be given them before every step (`refresh`).
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

from megaasr.model.inputs import Features, InputBuilder, end_token_ids
from megaasr.model.qwen3_asr import token_budget
from megaasr.train.rl.policy import Prompts, embed, make_prompts, positions_of
from megaasr.train.rl.recipe import SamplingRecipe


@dataclass(frozen=True, slots=True)
class Sample:
    """One drawn transcript.

    Attributes:
        ids: its tokens, the end token included if it came.
        truncated: whether the token budget ended it.
    """

    ids: tuple[int, ...]
    truncated: bool


class RolloutEngine(Protocol):
    """Draws transcripts from the current policy."""

    def refresh(self) -> None:
        """Take over the policy's weights; called before the draws of a step."""

    def draw(
        self, features: Sequence[Features], seeds: Sequence[Sequence[int]]
    ) -> list[list[Sample]]:
        """Return the transcripts of each clip.

        Args:
            features: of the clips, float [frames, mels].
            seeds: of each clip; the same seed and weights give the same transcripts, whatever
                else is in the batch (up to rounding).
        """
        ...


class NativeEngine:
    """Draws with the model that is trained, in this process.

    Args:
        model: native, adapters injected.
        builder: makes the model's inputs.
        recipe: how to draw.
        batch_size: clips at once.
    """

    def __init__(
        self, model: Any, builder: InputBuilder, recipe: SamplingRecipe, batch_size: int
    ) -> None:
        self._model, self._recipe, self._batch_size = model, recipe, batch_size
        self._builder = builder
        self._ends = torch.tensor(sorted(end_token_ids(model)))
        self._warp = LogitsProcessorList(
            [
                TemperatureLogitsWarper(recipe.temperature),
                TopKLogitsWarper(recipe.top_k),
                TopPLogitsWarper(recipe.top_p),
            ]
        )

    def refresh(self) -> None:
        """Do nothing: the weights are the policy's own."""

    @torch.no_grad()
    def draw(
        self, features: Sequence[Features], seeds: Sequence[Sequence[int]]
    ) -> list[list[Sample]]:
        """Return the transcripts of each clip; see `RolloutEngine`."""
        order = sorted(range(len(features)), key=lambda at: len(features[at]))
        found: dict[int, list[Sample]] = {}
        for start in range(0, len(order), self._batch_size):
            some = order[start : start + self._batch_size]
            drawn = self._draw_batch([features[at] for at in some], [seeds[at] for at in some])
            found.update(zip(some, drawn, strict=True))
        return [found[at] for at in range(len(features))]

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
        chances = np.stack(
            [np.random.default_rng([*seed]).random((max(budgets), copies)) for seed in seeds], 1
        ).reshape(max(budgets), -1)
        rows = self._decode(prompts, torch.from_numpy(chances), budgets)
        return [rows[at * copies : (at + 1) * copies] for at in range(len(features))]

    def _decode(
        self, prompts: Prompts, chances: torch.Tensor, budgets: Sequence[int]
    ) -> list[Sample]:
        copies, model = self._recipe.samples, self._model
        ends = self._ends.to(model.device)
        limits = torch.tensor(budgets, device=model.device).repeat_interleave(copies)
        # The prompt is read once for all copies of a clip.
        out = model(
            inputs_embeds=embed(model, prompts),
            attention_mask=prompts.attention,
            position_ids=positions_of(prompts.attention),
            use_cache=True,
            logits_to_keep=1,
        )
        cache = out.past_key_values
        cache.batch_repeat_interleave(copies)
        scores = out.logits[:, -1].repeat_interleave(copies, dim=0)
        attention = prompts.attention.repeat_interleave(copies, dim=0)
        position = attention.sum(dim=1, keepdim=True)
        drawn: list[torch.Tensor] = []
        going = torch.ones(len(scores), dtype=torch.bool, device=model.device)
        for step in range(len(chances)):
            token = self._choose(scores, drawn, chances[step])
            drawn.append(torch.where(going, token, self._builder.pad_id))
            going &= ~torch.isin(token, ends) & (step + 1 < limits)
            if not going.any():
                break
            attention = torch.cat([attention, torch.ones_like(attention[:, :1])], dim=1)
            out = model(
                input_ids=drawn[-1].unsqueeze(1),
                attention_mask=attention,
                position_ids=position + step,
                past_key_values=cache,
                use_cache=True,
            )
            scores = out.logits[:, -1]
        table = torch.stack(drawn, dim=1).tolist()
        known = set(self._ends.tolist())
        return [_cut(row, known, limit) for row, limit in zip(table, limits.tolist(), strict=True)]

    def _choose(
        self, scores: torch.Tensor, drawn: Sequence[torch.Tensor], chance: torch.Tensor
    ) -> torch.Tensor:
        """Draw a token for each row: where the cumulated probability passes the row's chance."""
        before = (
            torch.stack([*drawn], dim=1)
            if drawn
            else torch.empty((len(scores), 0), dtype=torch.long, device=scores.device)
        )
        scores = scores.float()
        if drawn and self._recipe.repetition_penalty > 1:
            scores = RepetitionPenaltyLogitsProcessor(self._recipe.repetition_penalty)(
                before,
                scores,
            )
        warped = self._warp(before, scores)  # type: ignore[arg-type]
        reached = warped.double().softmax(dim=-1).cumsum(dim=-1)
        target = chance.to(scores.device).unsqueeze(1) * reached[:, -1:]
        return (reached > target).to(torch.uint8).argmax(dim=-1)


def _cut(row: list[int], ends: set[int], limit: int) -> Sample:
    stop = next((at for at, token in enumerate(row[:limit]) if token in ends), None)
    return Sample(tuple(row[:limit] if stop is None else row[: stop + 1]), stop is None)
