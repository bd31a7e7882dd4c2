"""From clips and words to the native model's training inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from megaasr.model.geometry import AudioGeometry
from megaasr.model.prompt import AUDIO_PAD, prompt_parts, target_text, token_id
from megaasr.train.log_mel import Features

IGNORE = -100
"""Label of a token that is not learnt."""


class PromptTokens:
    """Token ids and labels of a clip: only the assistant's turn is learnt, its end included.

    Args:
        tokenizer: of the model.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._audio_pad = token_id(tokenizer, AUDIO_PAD)

    def __call__(
        self, frames: int, text: str, language: str | None, context: str = ""
    ) -> tuple[list[int], list[int]]:
        """Return (ids, labels) of one clip.

        Args:
            frames: mel frames of its audio.
            text: what is said; empty where nobody speaks.
            language: ISO code, None for English.
            context: of the system turn.
        """
        prompt = self.prompt(frames, context)
        target = self._encode(target_text(text, language))
        return [*prompt, *target], [*[IGNORE] * len(prompt), *target]

    def prompt(self, frames: int, context: str = "") -> list[int]:
        """Return the ids of a clip before the assistant's turn; arguments as for a call."""
        before, after = prompt_parts(context, None)
        return [
            *self._encode(before),
            *[self._audio_pad] * AudioGeometry().audio_tokens(frames),
            *self._encode(after),
        ]

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text)["input_ids"])


def pad_features(features: Sequence[Features]) -> dict[str, torch.Tensor]:
    """Pad features [frames, mels] on the right with masked zeros, to a whole number of seconds."""
    longest = max(len(f) for f in features)
    width = AudioGeometry().padded_frames(longest)
    padded = np.zeros((len(features), features[0].shape[1], width), dtype=np.float32)
    valid = np.zeros((len(features), width), dtype=np.int64)
    for row, one in enumerate(features):
        padded[row, :, : len(one)] = one.T
        valid[row, : len(one)] = 1
    return {
        "input_features": torch.from_numpy(padded),
        "input_features_mask": torch.from_numpy(valid),
    }


def pad_tokens(rows: Sequence[tuple[list[int], list[int]]]) -> dict[str, torch.Tensor]:
    """Pad rows of (ids, labels) on the right; padding is masked, and no label."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    labels = torch.full((len(rows), width), IGNORE, dtype=torch.long)
    attention = torch.zeros((len(rows), width), dtype=torch.long)
    for row, (tokens, targets) in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, : len(targets)] = torch.tensor(targets)
        attention[row, : len(tokens)] = 1
    return {"input_ids": ids, "labels": labels, "attention_mask": attention}
