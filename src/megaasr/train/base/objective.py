"""What the from-scratch stage minimises: cross-entropy on the transcript plus CTC on phonemes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import Qwen3ASRForConditionalGeneration

from megaasr.model.geometry import AudioGeometry
from megaasr.model.inputs import IGNORE

LABELS_PER_S = 50
"""About as many labels a second CTC needs for phonemes plus blanks."""
BLANK = 0


def labels_per_token(geometry: AudioGeometry) -> int:
    """Return how many labels the CTC head gives for each audio token: 4 for Qwen3-ASR's 13 tokens
    a second, which are fewer than phonemes plus blanks need, and 1 for 50 tokens a second."""
    return max(1, round(LABELS_PER_S / geometry.tokens_per_s))


class BaseObjective(nn.Module):
    """The native model and its auxiliary CTC head, which is thrown away after training.

    Args:
        model: the native model.
        phoneme_count: distinct phonemes; label 0 is CTC's blank, phonemes count from 1.
        geometry: of the model's audio.
    """

    def __init__(
        self,
        model: Qwen3ASRForConditionalGeneration,
        phoneme_count: int,
        geometry: AudioGeometry,
    ) -> None:
        super().__init__()
        self.model = model
        self.labels = phoneme_count + 1
        self.labels_per_token = labels_per_token(geometry)
        config: Any = model.config
        width = config.audio_config.d_model
        self.ctc_head = nn.Linear(width, self.labels_per_token * self.labels)

    def forward(
        self,
        inputs: dict[str, torch.Tensor],
        phonemes: torch.Tensor,
        phoneme_lengths: torch.Tensor,
        *,
        ctc_only: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (cross-entropy per token, CTC loss per phoneme), both scalars.

        Args:
            inputs: the native model's inputs, `labels` included.
            phonemes: int64 [sum of lengths], every row's phonemes one after another.
            phoneme_lengths: int64 [batch].
            ctc_only: leave the decoder out; the cross-entropy is then 0, with zero gradients.
        """
        core = self.model.model
        encoded = core.audio_tower(
            input_features=inputs["input_features"],
            input_features_mask=inputs["input_features_mask"],
        ).last_hidden_state
        ctc = self._ctc(encoded, inputs, phonemes, phoneme_lengths)
        if ctc_only:
            # Distributed training expects a gradient for every parameter in every step.
            unused = [core.multi_modal_projector, core.language_model]
            zeros = [p.sum() * 0.0 for module in unused for p in module.parameters()]
            return torch.stack(zeros).sum(), ctc
        ids, labels = inputs["input_ids"], inputs["labels"]
        embedded = core.get_input_embeddings()(ids)
        audio = core.multi_modal_projector(encoded)
        place = (ids == self.model.config.audio_token_id).unsqueeze(-1).expand_as(embedded)
        embedded = embedded.masked_scatter(place, audio)
        hidden = core.language_model(
            inputs_embeds=embedded, attention_mask=inputs["attention_mask"], use_cache=False
        ).last_hidden_state
        # Only the assistant's turn needs logits: a third of the positions.
        learnt = labels[:, 1:] != IGNORE
        logits = self.model.lm_head(hidden[:, :-1][learnt])
        return functional.cross_entropy(logits, labels[:, 1:][learnt]), ctc

    def _ctc(
        self,
        encoded: torch.Tensor,
        inputs: dict[str, torch.Tensor],
        phonemes: torch.Tensor,
        lengths: torch.Tensor,
    ) -> torch.Tensor:
        """CTC over the packed encoder output [all audio tokens, width]."""
        tokens = (inputs["input_ids"] == self.model.config.audio_token_id).sum(dim=1)
        scores = self.ctc_head(encoded).view(-1, self.labels_per_token, self.labels)
        log_probs = scores.log_softmax(-1)
        rows = torch.split(log_probs, tokens.tolist())
        padded = nn.utils.rnn.pad_sequence([row.flatten(0, 1) for row in rows])
        if int(lengths.sum()) == 0:
            # Nobody speaks in this batch; distributed training still wants every gradient.
            nothing: torch.Tensor = log_probs.sum() * 0.0
            return nothing
        losses: torch.Tensor = functional.ctc_loss(
            padded,
            phonemes,
            tokens * self.labels_per_token,
            lengths,
            blank=BLANK,
            reduction="sum",
            zero_infinity=True,
        )
        per_phoneme: torch.Tensor = losses / lengths.sum()
        return per_phoneme
