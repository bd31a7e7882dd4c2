"""Batches of encoder frames for the decoder of `small`: a function of recipe and step alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from megaasr.model.geometry import AudioGeometry
from megaasr.model.inputs import IGNORE, InputBuilder
from megaasr.model.prompt import TURN_END, prompt_parts, target_text
from megaasr.train.prompt_context import draw_context
from megaasr.train.small.concatenation import SpokenFrames
from megaasr.train.small.decoder_recipe import DecoderRecipe
from megaasr.train.small.example_sources import ExampleSource
from megaasr.train.small.lexicon import PHONEMES, words_of_characters
from megaasr.train.small.stem import GEOMETRY

FRAMES_PER_S = GEOMETRY.tokens_per_s
"""Encoder frames, which are audio tokens, per second."""


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """The tensors of one forward pass.

    Attributes:
        frames: encoder frames of all examples in sequence, float32 of shape [frames, width].
        frame_counts: number of frames of each example, int64 of shape [examples].
        inputs: `input_ids`, `labels` and `attention_mask`, int64 of shape [examples, tokens],
            padded on the right.
        targets: phonemes of all examples in sequence as classes of CTC, int64.
        target_counts: number of CTC targets of each example, int64 of shape [examples].
        token_frames: where attention should be, int64 of shape [tokens of words, 4]: the example,
            the position that predicts the token, the first position of its frames, and the
            position after the last.
    """

    frames: torch.Tensor
    frame_counts: torch.Tensor
    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor
    target_counts: torch.Tensor
    token_frames: torch.Tensor

    def to(self, device: torch.device) -> FrameBatch:
        """Return the batch on a device."""
        return FrameBatch(
            frames=self.frames.to(device),
            frame_counts=self.frame_counts.to(device),
            inputs={name: tensor.to(device) for name, tensor in self.inputs.items()},
            targets=self.targets.to(device),
            target_counts=self.target_counts.to(device),
            token_frames=self.token_frames.to(device),
        )


class FrameBatchBuilder:
    """Builds the tensors of examples; the recipe's seed and the step decide random choices.

    Args:
        recipe: shares, masks and the seed.
        tokenizer: tokenizer of the decoder.
        geometry: audio geometry of the encoder.
    """

    def __init__(
        self, recipe: DecoderRecipe, tokenizer: PreTrainedTokenizerBase, geometry: AudioGeometry
    ) -> None:
        self._recipe = recipe
        self._tokenizer = tokenizer
        self._inputs = InputBuilder(tokenizer, geometry)
        _, after = prompt_parts("", None)
        self._after_audio = len(tokenizer(after)["input_ids"])
        self._mel_frames_per_token = geometry.chunk_frames // geometry.chunk_tokens

    def build(
        self, source: ExampleSource, indices: Sequence[int], stream: Sequence[int]
    ) -> FrameBatch:
        """Return a batch of examples.

        Args:
            source: where the examples come from.
            indices: indices of the examples in the source.
            stream: key of the random choices: the step and the rank of the process.
        """
        rng = np.random.default_rng([self._recipe.seed, 4, *stream])
        spoken = [source.frames(index, rng) for index in indices]
        frames = [example.values for example in spoken]
        for values in frames:
            self._mask(values, rng)
        rows = [
            self._tokens(source, index, len(values), rng)
            for index, values in zip(indices, frames, strict=True)
        ]
        positions = [
            [number, *position]
            for number, (index, row, example) in enumerate(zip(indices, rows, spoken, strict=True))
            for position in self._token_frames(source.text(index), row[1], example)
        ]
        targets = [[1 + PHONEMES.index(p) for p in source.phonemes(index)] for index in indices]
        return FrameBatch(
            frames=torch.from_numpy(np.concatenate(frames)),
            frame_counts=torch.tensor([len(values) for values in frames]),
            inputs=self._inputs.pad_examples(rows),
            targets=torch.tensor([label for row in targets for label in row], dtype=torch.long),
            target_counts=torch.tensor([len(row) for row in targets]),
            token_frames=torch.tensor(positions, dtype=torch.long).reshape(-1, 4),
        )

    def _token_frames(
        self, text: str, labels: Sequence[int], example: SpokenFrames
    ) -> list[tuple[int, int, int]]:
        """Return (predicting position, first position, position after the last) of every token of
        a word with known frames: those of the word in proportion to the token's letters in it."""
        if not example.words:
            return []
        prompt = next(i for i, label in enumerate(labels) if label != IGNORE)
        audio = prompt - self._after_audio - len(example.values)
        target = target_text(text, "en")
        encoded = self._tokenizer(target, return_offsets_mapping=True)
        words = words_of_characters(text)
        first_character = len(target) - len(TURN_END) - len(text)
        positions = []
        for number, (start, end) in enumerate(encoded["offset_mapping"]):
            covered = [
                c
                for c in range(start - first_character, end - first_character)
                if 0 <= c < len(text)
            ]
            if covered and text[covered[-1]].isspace():
                covered.append(
                    covered[-1] + 1
                )  # a token of the space alone announces the next word
            word = words[covered[-1]] if covered else None
            if word is None:
                continue
            letters = [c for c in range(len(text)) if words[c] == word]
            parts = [letters.index(c) for c in covered if c in letters]
            first, last = example.words[word]
            scale = (last - first) / len(letters)
            positions.append(
                (
                    prompt + number - 1,
                    audio + max(first, first + round(min(parts) * scale) - 1),
                    audio + min(last, first + round((max(parts) + 1) * scale) + 1),
                )
            )
        return positions

    def _mask(self, values: NDArray[np.float32], rng: np.random.Generator) -> None:
        """Set time intervals and some dimensions of an example's frames to zero, in place."""
        recipe = self._recipe
        if recipe.feature_dropout:
            values[:, rng.random(values.shape[1]) < recipe.feature_dropout] = 0.0
        max_width = round(recipe.time_mask_s * FRAMES_PER_S)
        for _ in range(int(rng.poisson(recipe.time_masks_per_s * len(values) / FRAMES_PER_S))):
            width = int(rng.integers(1, max_width + 1))
            start = int(rng.integers(max(1, len(values) - width)))
            values[start : start + width] = 0.0

    def _tokens(
        self, source: ExampleSource, index: int, frames: int, rng: np.random.Generator
    ) -> tuple[list[int], list[int]]:
        """Return input ids and labels; only the assistant's turn has labels."""
        text = source.text(index)
        context = draw_context(
            text,
            rng,
            share=self._recipe.context_share,
            text_count=len(source.lengths),
            text_at=source.text,
        )
        language = "en" if text else None
        return self._inputs.example(frames * self._mel_frames_per_token, text, language, context)
