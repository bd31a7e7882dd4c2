"""The native model's inputs: prompts, placeholders of the audio, and padding.

Recognition, fine-tuning and reinforcement learning all make their inputs here, so that training
sees what recognition sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from megaasr.model.geometry import AudioGeometry
from megaasr.model.prompt import AUDIO_PAD, prompt_parts, target_text, token_id

IGNORE = -100
"""Label of a token that is not learnt."""

Features = NDArray[np.float32]
"""Log-mel features of one clip, [frames, mels], valid frames only."""


class InputBuilder:
    """Makes the native model's inputs.

    Args:
        tokenizer: of the model.
        geometry: of the model's audio.

    Attributes:
        geometry: as given.
        pad: id of the padding token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, geometry: AudioGeometry) -> None:
        self.geometry = geometry
        padding: Any = tokenizer.pad_token_id
        self.pad = int(padding)
        self._tokenizer = tokenizer
        self._audio_pad = token_id(tokenizer, AUDIO_PAD)

    @classmethod
    def of_model(cls, model: Any, processor: Any) -> InputBuilder:
        """Return the builder of a native model and its processor.

        Raises:
            CheckpointError: feature extractor and encoder do not fit together.
        """
        geometry = AudioGeometry.from_model(model.config, processor.feature_extractor)
        return cls(processor.tokenizer, geometry)

    def prompt(self, frames: int, context: str = "", language: str | None = None) -> list[int]:
        """Return the token ids of a clip before the assistant's turn.

        Args:
            frames: valid mel frames of its audio.
            context: free text of the system turn.
            language: ISO code or English name to force, or None.

        Raises:
            UsageError: the model does not know the language.
        """
        before, after = prompt_parts(context, language)
        return [
            *self._encode(before),
            *[self._audio_pad] * self.geometry.audio_tokens(frames),
            *self._encode(after),
        ]

    def example(
        self, frames: int, text: str, language: str | None, context: str = ""
    ) -> tuple[list[int], list[int]]:
        """Return (ids, labels) of a clip to learn from: only the assistant's turn is learnt, its
        end included.

        Args:
            frames: valid mel frames of its audio.
            text: what is said; empty where nobody speaks.
            language: ISO code, None for English.
            context: of the system turn.
        """
        prompt = self.prompt(frames, context)
        target = self._encode(target_text(text, language))
        return [*prompt, *target], [*[IGNORE] * len(prompt), *target]

    def silent_second(self) -> Features:
        """Return the features of a second of silence, for a step without a readable clip."""
        shape = (self.geometry.frames_in(1.0), self.geometry.mel_bins)
        return np.full(shape, -1.5, dtype=np.float32)

    def pad_features(self, features: Sequence[Features]) -> dict[str, torch.Tensor]:
        """Pad features on the right with masked zeros, to a whole number of chunks.

        Args:
            features: of each clip, float32 [frames, mels].

        Returns:
            `input_features`, float32 [clips, mels, frames], and `input_features_mask`, int64
            [clips, frames], 1 where there is sound.
        """
        return pad_features(features, self.geometry)

    def pad_prompts(self, rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """Pad token ids on the left, as generation needs it: `input_ids` and `attention_mask`,
        int64 [clips, tokens]."""
        width = max(len(row) for row in rows)
        ids = torch.full((len(rows), width), self.pad, dtype=torch.long)
        attention = torch.zeros((len(rows), width), dtype=torch.long)
        for number, row in enumerate(rows):
            ids[number, width - len(row) :] = torch.tensor(row)
            attention[number, width - len(row) :] = 1
        return {"input_ids": ids, "attention_mask": attention}

    def pad_completions(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad token ids on the right, as training needs it: ids and mask, int64 [rows, tokens]."""
        width = max(len(row) for row in rows)
        ids = torch.full((len(rows), width), self.pad, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
            mask[number, : len(row)] = 1
        return ids, mask

    def pad_examples(
        self, examples: Sequence[tuple[Sequence[int], Sequence[int]]]
    ) -> dict[str, torch.Tensor]:
        """Pad (ids, labels) as `example` gives them on the right: `input_ids`, `attention_mask`
        and `labels`, int64 [clips, tokens]; padding is masked, and no label."""
        ids, attention = self.pad_completions([row for row, _ in examples])
        labels = torch.full(ids.shape, IGNORE, dtype=torch.long)
        for number, (_, targets) in enumerate(examples):
            labels[number, : len(targets)] = torch.tensor(targets)
        return {"input_ids": ids, "labels": labels, "attention_mask": attention}

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text)["input_ids"])


def pad_features(features: Sequence[Features], geometry: AudioGeometry) -> dict[str, torch.Tensor]:
    """Pad features as `InputBuilder.pad_features` does, without a tokenizer."""
    width = geometry.padded_frames(max(len(clip) for clip in features))
    padded = np.zeros((len(features), features[0].shape[1], width), dtype=np.float32)
    valid = np.zeros((len(features), width), dtype=np.int64)
    for row, clip in enumerate(features):
        padded[row, :, : len(clip)] = clip.T
        valid[row, : len(clip)] = 1
    return {
        "input_features": torch.from_numpy(padded),
        "input_features_mask": torch.from_numpy(valid),
    }


def end_tokens(model: Any) -> frozenset[int]:
    """Return the tokens that end a native model's output."""
    ends: Any = model.generation_config.eos_token_id
    return frozenset({ends} if isinstance(ends, int) else ends or ())
