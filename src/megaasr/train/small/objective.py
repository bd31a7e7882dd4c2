"""What `small` is trained to minimise: losses of transcript, phonemes and attention."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import Qwen3ASRForConditionalGeneration

from megaasr.model.inputs import IGNORE, insert_audio
from megaasr.train.small.decoder_recipe import GuidedHead
from megaasr.train.small.frame_batches import FrameBatch
from megaasr.train.small.phoneme_ctc import PhonemeCTC

_LEAST_ATTENTION = 1e-3
"""Keeps the attention loss finite where a head does not attend to a token's frames at all."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What is computed in a step.

    Attributes:
        transcript: whether the decoder runs, and gives cross-entropy and attention loss.
        ctc: whether the CTC loss of the phonemes is computed.
        projector_learns: whether gradients reach the projector.
    """

    transcript: bool = True
    ctc: bool = True
    projector_learns: bool = True


class DecoderObjective(nn.Module):
    """Cross-entropy of the transcript, and the CTC loss of the phonemes on the projector's output.

    Args:
        model: native model; its encoder is not used.
        guided_heads: heads that are led to the frames of the token that is written.
    """

    def __init__(
        self,
        model: Qwen3ASRForConditionalGeneration,
        guided_heads: Sequence[GuidedHead] = (),
    ) -> None:
        super().__init__()
        self._guided_heads = guided_heads
        self.decoder = model.model.language_model
        self.ctc = PhonemeCTC(model.model.multi_modal_projector, self.decoder.config.hidden_size)
        self._audio_token = int(model.config.audio_token_id)
        self._pad_token = int(model.config.pad_token_id)

    def forward(
        self,
        batch: FrameBatch,
        losses: Losses,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return (cross-entropy, CTC loss, attention loss), in nats.

        The first two are summed over the batch; the third is the mean over tokens of words. A loss
        that is left out is 0 and has zero gradients.

        Args:
            batch: a batch of examples.
            losses: what is computed, and whether the projector learns.
        """
        audio = _in_steps(self.ctc.projector, batch.frames, 512).float()
        if not losses.projector_learns:
            audio = audio.detach()
        if losses.ctc:
            ctc = self.ctc.loss(audio, batch.frame_counts, batch.targets, batch.target_counts)
        else:
            ctc = _no_loss(self.ctc.parameters())
        if not losses.transcript:
            return _no_loss(self.decoder.parameters()), ctc, audio.new_zeros(())
        extra = (0, -batch.inputs["input_ids"].shape[1] % 32)
        ids = functional.pad(batch.inputs["input_ids"], extra, value=self._pad_token)
        labels = functional.pad(batch.inputs["labels"], extra, value=IGNORE)
        embedded = self.decoder.get_input_embeddings()(ids)
        output = self.decoder(
            inputs_embeds=insert_audio(embedded, ids, audio, self._audio_token),
            attention_mask=functional.pad(batch.inputs["attention_mask"], extra),
            use_cache=False,
            output_attentions=bool(self._guided_heads),
        )
        hidden = output.last_hidden_state
        has_label = labels[:, 1:] != IGNORE
        embeddings = self.decoder.get_input_embeddings().weight
        answers = hidden[:, :-1][has_label]
        logits = _in_steps(lambda rows: rows @ embeddings.T, answers, 128).float()
        cross_entropy = functional.cross_entropy(logits, labels[:, 1:][has_label], reduction="sum")
        return cross_entropy, ctc, self._attention_loss(output, batch.token_frames)

    def _attention_loss(self, output: Any, token_frames: torch.Tensor) -> torch.Tensor:
        """Return how little the guided heads attend to the frames of the token that is written."""
        if not self._guided_heads or not len(token_frames):
            return torch.zeros((), device=token_frames.device)
        example, query, first, end = token_frames.T
        losses = []
        for guided in self._guided_heads:
            rows = output.attentions[guided.layer][example, guided.head, query].float()
            keys = torch.arange(rows.shape[1], device=rows.device)[None]
            offsets, lengths = keys - first[:, None], (end - first)[:, None]
            is_led_to = (offsets >= (guided.start * lengths).floor()) & (
                offsets < (guided.end * lengths).ceil()
            )
            losses.append(-((rows * is_led_to).sum(1) + _LEAST_ATTENTION).log().mean())
        return torch.stack(losses).mean()


def _in_steps(
    function: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor, step: int
) -> torch.Tensor:
    """Return a function of each row, computed for a number of rows that is a multiple of `step`.

    Matrix products of every new shape are compiled by oneDNN, which took a fifth of the time.
    """
    count = len(rows)
    return function(functional.pad(rows, (0, 0, 0, -count % step)))[:count]


def _no_loss(parameters: Iterable[nn.Parameter]) -> torch.Tensor:
    """Return a loss of 0 with zero gradients of parameters.

    Distributed training expects a gradient for every parameter in every step.
    """
    return torch.stack([parameter.sum() * 0.0 for parameter in parameters]).sum()
