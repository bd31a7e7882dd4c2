"""The loss of training from scratch: cross-entropy of the transcript, and CTC of the phonemes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import Qwen3ASRForConditionalGeneration

from megaasr.model.geometry import AudioGeometry
from megaasr.model.inputs import IGNORE, insert_audio

LABELS_PER_S = 50
"""Labels per second that CTC needs for phonemes and blanks, approximately."""
BLANK = 0
"""CTC's blank label; phonemes count from 1."""


def labels_per_token(geometry: AudioGeometry) -> int:
    """Return the number of labels that the CTC head predicts for each audio token.

    It is 4 for the 13 tokens per second of Qwen3-ASR, which are fewer than phonemes and blanks
    need, and 1 for 50 tokens per second.
    """
    return max(1, round(LABELS_PER_S / geometry.tokens_per_s))


class BaseObjective(nn.Module):
    """The native model and its auxiliary CTC head, which is discarded after training.

    Args:
        model: native model.
        phoneme_count: number of distinct phonemes.
        geometry: audio geometry of the model.
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
        """Return (cross-entropy per token, CTC loss per phoneme), both scalars, in nats.

        Args:
            inputs: inputs of the native model, with `labels`.
            phonemes: phonemes of all examples in sequence, int64 of shape [sum of lengths].
            phoneme_lengths: number of phonemes of each example, int64 of shape [batch].
            ctc_only: whether the decoder is left out; the cross-entropy is then 0 and has zero
                gradients.
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
        hidden = core.language_model(
            inputs_embeds=insert_audio(embedded, ids, audio, self.model.config.audio_token_id),
            attention_mask=inputs["attention_mask"],
            use_cache=False,
        ).last_hidden_state
        # Only the assistant's turn needs logits: a third of the positions.
        has_label = labels[:, 1:] != IGNORE
        logits = self.model.lm_head(hidden[:, :-1][has_label])
        return functional.cross_entropy(logits, labels[:, 1:][has_label]), ctc

    def _ctc(
        self,
        encoded: torch.Tensor,
        inputs: dict[str, torch.Tensor],
        phonemes: torch.Tensor,
        lengths: torch.Tensor,
    ) -> torch.Tensor:
        """Return the CTC loss of the packed encoder output [audio tokens of the batch, width]."""
        tokens = (inputs["input_ids"] == self.model.config.audio_token_id).sum(dim=1)
        scores = self.ctc_head(encoded).view(-1, self.labels_per_token, self.labels)
        log_probs = scores.log_softmax(-1)
        rows = torch.split(log_probs, tokens.tolist())
        padded = nn.utils.rnn.pad_sequence([row.flatten(0, 1) for row in rows])
        if int(lengths.sum()) == 0:
            # No example has speech; distributed training still expects every gradient.
            zero: torch.Tensor = log_probs.sum() * 0.0
            return zero
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
