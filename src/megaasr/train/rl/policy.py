"""The policy: what the model makes of a clip, as log-probabilities of given transcripts.

The clip is heard once, whatever the number of its transcripts: features and encoder run once, and
the embedded prompt is copied. Probabilities are those of the sampling temperature, without top-k,
top-p and repetition penalty (as TRL has it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from megaasr.model.inputs import Features, InputBuilder


@dataclass(frozen=True, slots=True)
class Prompts:
    """A batch of clips as the model takes them, padded on the left.

    Attributes:
        features: float [clips, mels, frames].
        features_mask: int [clips, frames], 1 where there is sound.
        ids: int [clips, tokens].
        attention: int [clips, tokens], 1 where there is a token.
    """

    features: torch.Tensor
    features_mask: torch.Tensor
    ids: torch.Tensor
    attention: torch.Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> Prompts:
        """Return the batch on a device, its features in the model's type."""
        return Prompts(
            self.features.to(device, dtype),
            self.features_mask.to(device),
            self.ids.to(device),
            self.attention.to(device),
        )


def make_prompts(features: Sequence[Features], builder: InputBuilder) -> Prompts:
    """Return the prompts of clips.

    Args:
        features: of each clip, float [frames, mels].
        builder: makes the model's inputs.
    """
    sound = builder.pad_features(features)
    tokens = builder.pad_prompts([builder.prompt(len(clip)) for clip in features])
    return Prompts(
        sound["input_features"],
        sound["input_features_mask"],
        tokens["input_ids"],
        tokens["attention_mask"],
    )


def embed(model: Any, prompts: Prompts) -> torch.Tensor:
    """Return the prompts with the sound in them, float [clips, tokens, width]."""
    embedded: torch.Tensor = model.get_input_embeddings()(prompts.ids)
    heard = model.get_audio_features(
        prompts.features, prompts.features_mask, return_dict=True
    ).pooler_output
    places = model.model.get_placeholder_mask(prompts.ids, embedded, heard)
    return embedded.masked_scatter(places, heard.to(embedded.dtype))


def positions_of(attention: torch.Tensor) -> torch.Tensor:
    """Return the position of each token in its row, padding not counted."""
    return (attention.cumsum(dim=1) - 1).clamp(min=0)


class Policy(nn.Module):
    """The model as a function from clips and transcripts to log-probabilities.

    Args:
        model: native, adapters injected.
        temperature: of the sampling.
        share_prompt: read the prompt once for all transcripts of a clip; gradient checkpointing
            cannot.
    """

    def __init__(self, model: Any, temperature: float, *, share_prompt: bool = True) -> None:
        super().__init__()
        self.model = model
        self._read = self._shared if share_prompt else self._copied
        self.temperature = temperature

    def forward(
        self, prompts: Prompts, completions: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Score transcripts.

        Args:
            prompts: of the clips.
            completions: int [clips * copies, tokens], a clip's transcripts side by side, padded
                on the right.
            mask: int, the same shape, 1 where there is a token (the end token is one).

        Returns:
            (log-probabilities, entropies), float [clips * copies, tokens]; entropies without
            gradient.
        """
        copies = len(completions) // len(prompts.ids)
        logits = self._read(prompts, completions, mask, copies)
        scaled = logits.float() / self.temperature
        total = scaled.logsumexp(dim=-1)
        logprobs = scaled.gather(-1, completions.unsqueeze(-1)).squeeze(-1) - total
        with torch.no_grad():
            entropy = total - (scaled.softmax(dim=-1) * scaled).sum(dim=-1)
        return logprobs, entropy

    def _shared(
        self, prompts: Prompts, completions: torch.Tensor, mask: torch.Tensor, copies: int
    ) -> torch.Tensor:
        """Return the logits of every token, the prompt read once for all copies."""
        before = self.model(
            inputs_embeds=embed(self.model, prompts),
            attention_mask=prompts.attention,
            position_ids=positions_of(prompts.attention),
            use_cache=True,
            logits_to_keep=1,
        )
        first: torch.Tensor = before.logits.repeat_interleave(copies, dim=0)
        if completions.shape[1] == 1:
            return first
        # Gradients flow back through the keys and values of the copies into the one prompt.
        cache = before.past_key_values
        cache.batch_repeat_interleave(copies)
        attention = torch.cat([prompts.attention.repeat_interleave(copies, dim=0), mask], dim=1)
        width = prompts.ids.shape[1]
        after = self.model(
            input_ids=completions[:, :-1],
            attention_mask=attention[:, :-1],
            position_ids=positions_of(attention)[:, width:-1],
            past_key_values=cache,
            use_cache=True,
        )
        return torch.cat([first, after.logits], dim=1)

    def _copied(
        self, prompts: Prompts, completions: torch.Tensor, mask: torch.Tensor, copies: int
    ) -> torch.Tensor:
        """Return the same with a copy of the prompt before each transcript: without a cache, as
        gradient checkpointing needs it."""
        before = embed(self.model, prompts).repeat_interleave(copies, dim=0)
        said = self.model.get_input_embeddings()(completions)
        attention = torch.cat([prompts.attention.repeat_interleave(copies, dim=0), mask], dim=1)
        logits: torch.Tensor = self.model(
            inputs_embeds=torch.cat([before, said.to(before.dtype)], dim=1),
            attention_mask=attention,
            position_ids=positions_of(attention),
            use_cache=False,
            logits_to_keep=completions.shape[1] + 1,
        ).logits
        return logits[:, :-1]
