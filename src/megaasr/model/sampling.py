"""Sampling several transcripts of each clip: the encoder and the prompt are run once for all.

Recognition samples here for consensus decoding, and reinforcement learning for its rollouts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from megaasr.model.cache_argument import cache_argument, output_cache
from megaasr.model.inputs import end_token_ids, find_end, insert_audio
from megaasr.model.interface import SamplingSettings

Context = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class SampledTokens:
    """One sampled transcript.

    Attributes:
        ids: token ids, with the end token if there is one.
        logprobs: log-probability of each token in the model's own distribution, before temperature,
            penalty and cuts; in nats.
        truncated: whether the token budget cut the transcript off.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    truncated: bool


class TranscriptSampler:
    """Samples transcripts from a native model.

    Args:
        model: native model.
        pad_id: id of the padding token.
        settings: the distribution that tokens are drawn from.
    """

    def __init__(self, model: Any, pad_id: int, settings: SamplingSettings) -> None:
        self._model, self._pad_id, self._settings = model, pad_id, settings
        self._ends = end_token_ids(model.generation_config)
        self._warpers = LogitsProcessorList(
            [
                TemperatureLogitsWarper(float(settings.temperature)),
                TopKLogitsWarper(settings.top_k),
                TopPLogitsWarper(settings.top_p),
            ]
        )

    @torch.no_grad()
    def draw(
        self,
        inputs: dict[str, torch.Tensor],
        seeds: Sequence[Sequence[int]],
        budgets: Sequence[int],
        *,
        copies: range | None = None,
        prompt_context: Context = nullcontext,
        token_context: Context = nullcontext,
    ) -> list[list[SampledTokens]]:
        """Return the samples of each clip.

        Args:
            inputs: the native model's inputs of a batch of clips, prompts padded on the left.
            seeds: seed of each clip. Equal seeds and weights give equal transcripts, whatever other
                clips are in the batch (up to rounding).
            budgets: token budget of each clip.
            copies: indices of the samples to draw; None for all of the settings. A sample does not
                depend on which others are drawn.
            prompt_context: returns the context in which encoder and prompts run, with a row for
                each clip.
            token_context: returns the context in which the drawn tokens run, with a row for each
                sample; the samples of a clip are adjacent rows.
        """
        samples, model = self._settings.samples, self._model
        indices = range(samples) if copies is None else copies
        shape, count = (max(budgets), samples), len(indices)
        uniforms = np.stack(
            [np.random.default_rng([*seed]).random(shape)[:, [*indices]] for seed in seeds], 1
        ).reshape(max(budgets), -1)
        attention = inputs["attention_mask"]
        with prompt_context():
            output = model(
                inputs_embeds=embed_prompts(model, inputs),
                attention_mask=attention,
                position_ids=positions_of(attention),
                use_cache=True,
                logits_to_keep=1,
            )
        cache = output_cache(output)
        cache.batch_repeat_interleave(count)
        logits = output.logits[:, -1].repeat_interleave(count, dim=0)
        attention = attention.repeat_interleave(count, dim=0)
        limits = [budget for budget in budgets for _ in indices]
        with token_context():
            rows = self.generate(logits, attention, cache, torch.from_numpy(uniforms), limits)
        return [rows[i * count : (i + 1) * count] for i in range(len(seeds))]

    def generate(
        self,
        logits: torch.Tensor,
        attention: torch.Tensor,
        cache: Any,
        uniforms: torch.Tensor,
        limits: Sequence[int],
    ) -> list[SampledTokens]:
        """Generate what follows prompts that the model has run, token by token.

        Args:
            logits: scores of the first token, float of shape [rows, vocabulary].
            attention: 1 for tokens of the prompts, 0 for padding, int of shape [rows, tokens].
            cache: keys and values of the prompts; it is extended.
            uniforms: a number of 0..1 for each step and row, which decides the token.
            limits: token budget of each row.
        """
        device = logits.device
        ends = torch.tensor(sorted(self._ends), device=device)
        budgets = torch.tensor(limits, device=device)
        if device.type != "mps":  # which has no float64
            uniforms = uniforms.to(device)
        position = attention.sum(dim=1, keepdim=True)
        generated: list[torch.Tensor] = []
        logprobs: list[torch.Tensor] = []
        is_active = torch.ones(len(logits), dtype=torch.bool, device=device)
        for step in range(len(uniforms)):
            token = self.draw_token(logits, generated, uniforms[step])
            logprobs.append(_log_probability(logits, token))
            generated.append(torch.where(is_active, token, self._pad_id))
            is_active &= ~torch.isin(token, ends) & (step + 1 < budgets)
            if not is_active.any():
                break
            attention = torch.cat([attention, torch.ones_like(attention[:, :1])], dim=1)
            output = self._model(
                input_ids=generated[-1].unsqueeze(1),
                attention_mask=attention,
                position_ids=position + step,
                **cache_argument(cache),
                use_cache=True,
            )
            logits = output.logits[:, -1]
        rows = torch.stack(generated, dim=1).tolist()
        scores = torch.stack(logprobs, dim=1).tolist()
        return [self._cut(*row) for row in zip(rows, scores, limits, strict=True)]

    def draw_token(
        self, logits: torch.Tensor, generated: Sequence[torch.Tensor], uniforms: torch.Tensor
    ) -> torch.Tensor:
        """Return the next token of each row, int64 of shape [rows].

        It is the first token at which the cumulative probability exceeds the row's number.

        Args:
            logits: scores of the next token, float of shape [rows, vocabulary].
            generated: earlier tokens of the rows, int64 of shape [rows] for each step.
            uniforms: a number of 0..1 for each row.
        """
        if self._settings.top_k == 1:
            return logits.argmax(dim=-1)
        earlier = (
            torch.stack([*generated], dim=1)
            if generated
            else torch.empty((len(logits), 0), dtype=torch.long, device=logits.device)
        )
        logits = logits.float()
        if generated and self._settings.repetition_penalty > 1:
            penalty = RepetitionPenaltyLogitsProcessor(self._settings.repetition_penalty)
            logits = penalty(earlier, logits)
        warped = self._warpers(earlier, logits)  # type: ignore[arg-type]
        if warped.device.type == "mps":  # which has no float64
            warped = warped.cpu()
        cumulative = warped.double().softmax(dim=-1).cumsum(dim=-1)
        target = uniforms.to(warped.device).unsqueeze(1) * cumulative[:, -1:]
        return (cumulative > target).to(torch.uint8).argmax(dim=-1).to(logits.device)

    def _cut(self, row: list[int], logprobs: list[float], budget: int) -> SampledTokens:
        """Return a generated row up to and with its end token."""
        end = find_end(row, budget, self._ends)
        length = budget if end is None else end + 1
        return SampledTokens(tuple(row[:length]), tuple(logprobs[:length]), end is None)


def embed_prompts(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the embedded prompts with their audio, float of shape [clips, tokens, width].

    Args:
        model: native model.
        inputs: `input_ids`, `input_features` and `input_features_mask` of a batch of clips.
    """
    ids = inputs["input_ids"]
    embedded: torch.Tensor = model.get_input_embeddings()(ids)
    audio = model.get_audio_features(
        inputs["input_features"], inputs["input_features_mask"], return_dict=True
    ).pooler_output
    return insert_audio(embedded, ids, audio.to(embedded.dtype), model.config.audio_token_id)


def positions_of(attention: torch.Tensor) -> torch.Tensor:
    """Return the position of each token in its row, not counting padding.

    Args:
        attention: 1 for tokens, 0 for padding, int of shape [rows, tokens].
    """
    return (attention.cumsum(dim=1) - 1).clamp(min=0)


def _log_probability(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return the log-probability of a token in each row, float of shape [rows]."""
    scores = logits.float().log_softmax(dim=-1)
    return scores.gather(1, tokens.unsqueeze(1)).squeeze(1)
