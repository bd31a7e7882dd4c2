"""Batches of encoder frames for the decoder of `small`: a function of recipe and step alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from megaasr.errors import TrainingError
from megaasr.model.geometry import AudioGeometry
from megaasr.model.inputs import InputBuilder
from megaasr.train.prompt_context import draw_context
from megaasr.train.small.batching import BatchSchedule
from megaasr.train.small.decoder_recipe import DecoderPhase, DecoderRecipe
from megaasr.train.small.frames import FrameExample, Frames, FrameStore
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
        targets: CTC targets of all examples in sequence, int64.
        target_counts: number of CTC targets of each example, int64 of shape [examples].
    """

    frames: torch.Tensor
    frame_counts: torch.Tensor
    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor
    target_counts: torch.Tensor

    def to(self, device: torch.device) -> FrameBatch:
        """Return the batch on a device."""
        return FrameBatch(
            frames=self.frames.to(device),
            frame_counts=self.frame_counts.to(device),
            inputs={name: tensor.to(device) for name, tensor in self.inputs.items()},
            targets=self.targets.to(device),
            target_counts=self.target_counts.to(device),
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
        self._mel_frames_per_token = geometry.chunk_frames // geometry.chunk_tokens

    def build(self, store: FrameStore, indices: Sequence[int], stream: Sequence[int]) -> FrameBatch:
        """Return a batch of examples.

        Args:
            store: frames of the examples.
            indices: indices of the examples in the store.
            stream: key of the random choices: the step and the rank of the process.
        """
        rng = np.random.default_rng([self._recipe.seed, 4, *stream])
        examples = [store.examples[index] for index in indices]
        frames = [self._mask(store.frames(example), rng) for example in examples]
        rows = [self._tokens(example, store, rng) for example in examples]
        targets = [self._encode(example.text) if example.text else [] for example in examples]
        return FrameBatch(
            frames=torch.from_numpy(np.concatenate(frames)),
            frame_counts=torch.tensor([example.frames for example in examples]),
            inputs=self._inputs.pad_examples(rows),
            targets=torch.tensor([1 + token for row in targets for token in row], dtype=torch.long),
            target_counts=torch.tensor([len(row) for row in targets]),
        )

    def _mask(self, frames: Frames, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return a copy in float32 with time intervals and some dimensions set to zero."""
        values = frames.astype(np.float32)
        recipe = self._recipe
        if recipe.feature_dropout:
            values[:, rng.random(values.shape[1]) < recipe.feature_dropout] = 0.0
        max_width = round(recipe.time_mask_s * FRAMES_PER_S)
        for _ in range(int(rng.poisson(recipe.time_masks_per_s * len(values) / FRAMES_PER_S))):
            width = int(rng.integers(1, max_width + 1))
            start = int(rng.integers(max(1, len(values) - width)))
            values[start : start + width] = 0.0
        return values

    def _tokens(
        self, example: FrameExample, store: FrameStore, rng: np.random.Generator
    ) -> tuple[list[int], list[int]]:
        """Return input ids and labels; only the assistant's turn has labels."""
        context = draw_context(
            example.text,
            rng,
            share=self._recipe.context_share,
            text_count=len(store.examples),
            text_at=lambda index: store.examples[index].text,
        )
        language = "en" if example.text else None
        mel_frames = example.frames * self._mel_frames_per_token
        return self._inputs.example(mel_frames, example.text, language, context)

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text)["input_ids"])


class PhaseData:
    """The examples of a phase and their order.

    Args:
        phase: recipe of the phase.
        first_step: first step of the phase, counted from the start of the run.
        folder: folder of the encoder frames. It is read when the phase begins, so that a run may
            start before later parts have been encoded.
        seed: seed of the order.
    """

    def __init__(self, phase: DecoderPhase, first_step: int, folder: Path, seed: int) -> None:
        self.phase = phase
        self.first_step = first_step
        self._folder = folder
        self._seed = seed

    def batch(self, step: int) -> list[int]:
        """Return the indices of the examples of a step, counted from the start of the run.

        Raises:
            TrainingError: frames of the phase are missing, or all examples are too long.
        """
        return [self._indices[i] for i in self._schedule.batch(step - self.first_step)]

    @cached_property
    def store(self) -> FrameStore:
        """The examples of the phase's manifests."""
        return FrameStore(self._folder, self.phase.manifests)

    @cached_property
    def _indices(self) -> list[int]:
        limit = self.phase.max_s * FRAMES_PER_S
        indices = [i for i, e in enumerate(self.store.examples) if e.frames <= limit]
        if not indices:
            raise TrainingError(f"{self._folder} holds no example of at most {self.phase.max_s} s")
        return indices

    @cached_property
    def _schedule(self) -> BatchSchedule:
        lengths = [self.store.examples[i].frames for i in self._indices]
        return BatchSchedule(lengths, self.phase.batch_s * FRAMES_PER_S, self._seed)
