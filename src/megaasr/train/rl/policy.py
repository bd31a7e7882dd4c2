"""The policy: the model as log-probabilities of transcripts, given their clips.

A clip is encoded once, whatever the number of its transcripts: features and encoder run once, and
the embedded prompt is copied. The probabilities are those of the sampling temperature, without
top-k, top-p and repetition penalty (as in TRL).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from megaasr.model.cache_argument import cache_argument, output_cache
from megaasr.model.inputs import Features, InputBuilder
from megaasr.model.sampling import embed_prompts, positions_of


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of a batch of clips as model inputs, tokens padded on the left.

    Attributes:
        features: log-mel features, float of shape [clips, mels, frames].
        features_mask: 1 for valid frames, int of shape [clips, frames].
        ids: token ids, int of shape [clips, tokens].
        attention: 1 for tokens, 0 for padding, int of shape [clips, tokens].
    """

    features: torch.Tensor
    features_mask: torch.Tensor
    ids: torch.Tensor
    attention: torch.Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> Prompts:
        """Return the batch on a device, with features of a type."""
        return Prompts(
            self.features.to(device, dtype),
            self.features_mask.to(device),
            self.ids.to(device),
            self.attention.to(device),
        )

    def inputs(self) -> dict[str, torch.Tensor]:
        """Return the inputs by the native model's names."""
        return {
            "input_features": self.features,
            "input_features_mask": self.features_mask,
            "input_ids": self.ids,
            "attention_mask": self.attention,
        }


def make_prompts(features: Sequence[Features], builder: InputBuilder) -> Prompts:
    """Return the prompts of clips.

    Args:
        features: log-mel features of each clip, float32 of shape [frames, mels].
        builder: builds the model's inputs.
    """
    audio = builder.pad_features(features)
    tokens = builder.pad_prompts([builder.prompt(len(clip)) for clip in features])
    return Prompts(
        audio["input_features"],
        audio["input_features_mask"],
        tokens["input_ids"],
        tokens["attention_mask"],
    )


class Policy(nn.Module):
    """The model as a function from clips and transcripts to log-probabilities.

    Args:
        model: native model with injected adapters.
        temperature: temperature of the sampling.
        share_prompt: whether the prompt of a clip is processed once for all its transcripts;
            gradient checkpointing requires False.
    """

    def __init__(self, model: Any, temperature: float, *, share_prompt: bool = True) -> None:
        super().__init__()
        self.model = model
        self._logits = self._shared_prompt if share_prompt else self._copied_prompt
        self.temperature = temperature

    def forward(
        self, prompts: Prompts, completions: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Score transcripts.

        Args:
            prompts: prompts of the clips.
            completions: token ids, int of shape [clips * copies, tokens], padded on the right;
                the transcripts of a clip are adjacent rows.
            mask: 1 for tokens (the end token is one), 0 for padding; the same shape.

        Returns:
            Log-probabilities and entropies of the tokens, float of the same shape; entropies have
            no gradient.
        """
        copies = len(completions) // len(prompts.ids)
        logits = self._logits(prompts, completions, mask, copies)
        scaled = logits.float() / self.temperature
        total = scaled.logsumexp(dim=-1)
        logprobs = scaled.gather(-1, completions.unsqueeze(-1)).squeeze(-1) - total
        with torch.no_grad():
            entropy = total - (scaled.softmax(dim=-1) * scaled).sum(dim=-1)
        return logprobs, entropy

    def _shared_prompt(
        self, prompts: Prompts, completions: torch.Tensor, mask: torch.Tensor, copies: int
    ) -> torch.Tensor:
        """Return the logits of every token; the prompt is processed once for all copies."""
        prefix = self.model(
            inputs_embeds=embed_prompts(self.model, prompts.inputs()),
            attention_mask=prompts.attention,
            position_ids=positions_of(prompts.attention),
            use_cache=True,
            logits_to_keep=1,
        )
        first: torch.Tensor = prefix.logits.repeat_interleave(copies, dim=0)
        if completions.shape[1] == 1:
            return first
        # Gradients flow back through the copied keys and values into the one prompt.
        cache = output_cache(prefix)
        cache.batch_repeat_interleave(copies)
        attention = torch.cat([prompts.attention.repeat_interleave(copies, dim=0), mask], dim=1)
        width = prompts.ids.shape[1]
        continuation = self.model(
            input_ids=completions[:, :-1],
            attention_mask=attention[:, :-1],
            position_ids=positions_of(attention)[:, width:-1],
            **cache_argument(cache),
            use_cache=True,
        )
        return torch.cat([first, continuation.logits], dim=1)

    def _copied_prompt(
        self, prompts: Prompts, completions: torch.Tensor, mask: torch.Tensor, copies: int
    ) -> torch.Tensor:
        """Return the same logits from a copy of the prompt before each transcript.

        It needs no cache, which gradient checkpointing does not support.
        """
        prefix = embed_prompts(self.model, prompts.inputs()).repeat_interleave(copies, dim=0)
        transcripts = self.model.get_input_embeddings()(completions)
        attention = torch.cat([prompts.attention.repeat_interleave(copies, dim=0), mask], dim=1)
        logits: torch.Tensor = self.model(
            inputs_embeds=torch.cat([prefix, transcripts.to(prefix.dtype)], dim=1),
            attention_mask=attention,
            position_ids=positions_of(attention),
            use_cache=False,
            logits_to_keep=completions.shape[1] + 1,
        ).logits
        return logits[:, :-1]
