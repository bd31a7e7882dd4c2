"""Inputs of the native model: prompts, audio placeholders and padding.

Recognition, fine-tuning and reinforcement learning all build their inputs here, so that training
and recognition cannot differ.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from megaasr.model.geometry import SAMPLE_RATE_HZ, AudioGeometry
from megaasr.model.prompt import AUDIO_PAD, prompt_parts, target_text, token_id

IGNORE = -100
"""Label of a token that is excluded from the loss."""

Features = NDArray[np.float32]
"""Log-mel features of one clip without padding, float32 of shape [frames, mels]."""


class InputBuilder:
    """Builds the inputs of a native model.

    Args:
        tokenizer: the model's tokenizer.
        geometry: the model's audio geometry.

    Attributes:
        geometry: the model's audio geometry.
        pad_id: id of the padding token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, geometry: AudioGeometry) -> None:
        self.geometry = geometry
        pad_id: Any = tokenizer.pad_token_id
        self.pad_id = int(pad_id)
        self._tokenizer = tokenizer
        self._audio_pad_id = token_id(tokenizer, AUDIO_PAD)

    @classmethod
    def for_model(cls, model: Any, processor: Any) -> InputBuilder:
        """Return the input builder for a native model and its processor.

        Raises:
            CheckpointError: feature extractor and encoder do not match.
        """
        geometry = AudioGeometry.from_model(model.config, processor.feature_extractor)
        return cls(processor.tokenizer, geometry)

    def prompt(self, frames: int, context: str = "", language: str | None = None) -> list[int]:
        """Return the token ids of the prompt for a clip, up to the start of the model's output.

        Args:
            frames: number of valid mel frames in the clip.
            context: free text for the system turn.
            language: ISO code or English name of the language to force; None to let the model
                identify it.

        Raises:
            UsageError: the model does not know the language.
        """
        before, after = self.prompt_ends(context, language)
        return [*before, *self.audio_placeholders(frames), *after]

    def prompt_ends(self, context: str, language: str | None) -> tuple[list[int], list[int]]:
        """Return the token ids of a prompt before and after its audio; arguments as `prompt`."""
        before, after = prompt_parts(context, language)
        return self._encode(before), self._encode(after)

    def audio_placeholders(self, frames: int) -> list[int]:
        """Return the placeholder tokens of a number of valid mel frames."""
        return [self._audio_pad_id] * self.geometry.audio_tokens(frames)

    def example(
        self, frames: int, text: str, language: str | None, context: str = ""
    ) -> tuple[list[int], list[int]]:
        """Return (token ids, labels) of a training example, two lists of equal length.

        The loss covers only the assistant's turn, including its end token.

        Args:
            frames: number of valid mel frames in the clip.
            text: reference transcript; empty for a clip without speech.
            language: ISO code of the language; None for English.
            context: free text for the system turn.
        """
        prompt = self.prompt(frames, context)
        target = self._encode(target_text(text, language))
        return [*prompt, *target], [*[IGNORE] * len(prompt), *target]

    def silent_second(self) -> Features:
        """Return the features of one second of silence, a substitute in batches without a readable
        clip."""
        shape = (self.geometry.frames_in(1.0), self.geometry.mel_bins)
        return np.full(shape, -1.5, dtype=np.float32)

    def pad_features(self, features: Sequence[Features]) -> dict[str, torch.Tensor]:
        """Pad features with zeros at the end, to a whole number of encoder chunks.

        Args:
            features: the features of each clip, float32 arrays of shape [frames, mels].

        Returns:
            `input_features`, float32 of shape [clips, mels, frames], and `input_features_mask`,
            int64 of shape [clips, frames], 1 in valid frames and 0 in padding.
        """
        return pad_features(features, self.geometry)

    def pad_prompts(self, rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """Pad token ids on the left, as generation requires.

        Args:
            rows: the token ids of each prompt.

        Returns:
            `input_ids` and `attention_mask`, int64 of shape [clips, tokens]; the mask is 0 in
            padding.
        """
        width = max(len(row) for row in rows)
        ids = torch.full((len(rows), width), self.pad_id, dtype=torch.long)
        attention = torch.zeros((len(rows), width), dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, width - len(row) :] = torch.tensor(row)
            attention[i, width - len(row) :] = 1
        return {"input_ids": ids, "attention_mask": attention}

    def pad_completions(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad token ids on the right, as training requires.

        Args:
            rows: the token ids of each completion.

        Returns:
            Token ids and mask, int64 of shape [rows, tokens]; the mask is 0 in padding.
        """
        return pad_right(rows, self.pad_id)

    def pad_examples(
        self, examples: Sequence[tuple[Sequence[int], Sequence[int]]]
    ) -> dict[str, torch.Tensor]:
        """Pad training examples on the right.

        Args:
            examples: (token ids, labels) of each clip, see `example`.

        Returns:
            `input_ids`, `labels` and `attention_mask`, int64 of shape [clips, tokens]; in padding
            the label is `IGNORE` and the mask is 0.
        """
        ids, attention = self.pad_completions([row for row, _ in examples])
        labels = torch.full(ids.shape, IGNORE, dtype=torch.long)
        for i, (_, targets) in enumerate(examples):
            labels[i, : len(targets)] = torch.tensor(targets)
        return {"input_ids": ids, "labels": labels, "attention_mask": attention}

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text)["input_ids"])


def extract_features(extractor: Any, samples: NDArray[np.float32]) -> Features:
    """Return the log-mel features of a clip without padding, float32 of shape [frames, mels].

    Args:
        extractor: the model's native feature extractor.
        samples: audio, float32 of shape [time], 16 kHz mono.
    """
    extracted = extractor(
        [np.ascontiguousarray(samples, dtype=np.float32)],
        sampling_rate=SAMPLE_RATE_HZ,
        padding=True,
        return_attention_mask=True,
        return_tensors="pt",
    )
    valid = int(extracted["attention_mask"][0].sum())
    features: Features = extracted["input_features"][0, :, :valid].T.numpy()
    return features


def pad_features(features: Sequence[Features], geometry: AudioGeometry) -> dict[str, torch.Tensor]:
    """Pad features as `InputBuilder.pad_features` does, for callers without a tokenizer."""
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


def pad_right(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad token ids on the right.

    Args:
        rows: the token ids of each row.
        pad_id: id of the padding token.

    Returns:
        Token ids and mask, int64 of shape [rows, tokens]; the mask is 0 in padding.
    """
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return ids, mask


def to_device(
    tensors: Mapping[str, torch.Tensor], device: torch.device, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """Return tensors on a device, those of floats in a data type.

    To a GPU they are copied from pinned memory, so that the CPU need not wait for the copies.

    Args:
        tensors: tensors in main memory by their names.
        device: device that computes.
        dtype: data type of the model's activations.
    """
    converted = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    if device.type != "cuda":
        return {name: tensor.to(device) for name, tensor in converted.items()}
    return {
        name: tensor.pin_memory().to(device, non_blocking=True)
        for name, tensor in converted.items()
    }


def insert_audio(
    embedded: torch.Tensor, ids: torch.Tensor, audio: torch.Tensor, audio_token: int
) -> torch.Tensor:
    """Replace the embeddings of the audio placeholders by the projected output of the encoder.

    Args:
        embedded: token embeddings, float of shape [clips, tokens, width].
        ids: token ids, int64 of shape [clips, tokens].
        audio: projected audio tokens of all clips in sequence, float of shape [audio tokens,
            width].
        audio_token: id of the placeholder token.

    Raises:
        ValueError: the numbers of placeholders and of audio tokens differ.
    """
    is_audio = ids == audio_token
    if (placeholders := int(is_audio.sum())) != len(audio):
        raise ValueError(f"{placeholders} placeholders for {len(audio)} audio tokens")
    return embedded.masked_scatter(is_audio.unsqueeze(-1).expand_as(embedded), audio)


def find_end(tokens: Sequence[int], budget: int, end_ids: Collection[int]) -> int | None:
    """Return the index of the token that ends a generated row; None if the budget ended it.

    Args:
        tokens: token ids of one row of a batch. Beyond the row's budget they are padding, which
            may be an end token itself.
        budget: token budget of the row.
        end_ids: ids of the end tokens, see `end_token_ids`.
    """
    return next((i for i, token in enumerate(tokens[:budget]) if token in end_ids), None)


def end_token_ids(config: Any) -> frozenset[int]:
    """Return the ids of the tokens that end a native model's output.

    Args:
        config: the model's configuration for generation, or a configuration that states them, too.
    """
    end_ids: Any = config.eos_token_id
    return frozenset({end_ids} if isinstance(end_ids, int) else end_ids or ())
