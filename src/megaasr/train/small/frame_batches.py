"""Batches of encoder frames for `small`'s decoder: a function of the recipe and the step alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from megaasr.errors import TrainingError
from megaasr.model.geometry import AudioGeometry
from megaasr.model.inputs import InputBuilder
from megaasr.train.prompt_context import draw_context
from megaasr.train.small.batching import BatchSchedule
from megaasr.train.small.decoder_recipe import DecoderPhase, DecoderRecipe
from megaasr.train.small.frames import FrameExample, FrameStore
from megaasr.train.small.stem import GEOMETRY

FRAMES_PER_S = GEOMETRY.tokens_per_s


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """What one forward pass needs.

    Attributes:
        frames: float32 [frames of all examples, width], packed.
        frame_counts: of each example.
        inputs: `input_ids`, `labels`, `attention_mask`, padded on the right.
        targets: CTC targets, all examples one after another.
        target_counts: of each example.
    """

    frames: torch.Tensor
    frame_counts: torch.Tensor
    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor
    target_counts: torch.Tensor

    def to(self, device: torch.device) -> FrameBatch:
        """Return the batch on a device."""
        return FrameBatch(
            self.frames.to(device),
            self.frame_counts.to(device),
            {name: tensor.to(device) for name, tensor in self.inputs.items()},
            self.targets.to(device),
            self.target_counts.to(device),
        )


class BatchMaker:
    """Turns examples into tensors; every random choice is keyed by the recipe's seed and the step.

    Args:
        recipe: shares and masks.
        tokenizer: of the decoder.
        geometry: of the encoder's audio.
    """

    def __init__(
        self, recipe: DecoderRecipe, tokenizer: PreTrainedTokenizerBase, geometry: AudioGeometry
    ) -> None:
        self._recipe = recipe
        self._tokenizer = tokenizer
        self._inputs = InputBuilder(tokenizer, geometry)
        self._mel_frames_per_token = geometry.chunk_frames // geometry.chunk_tokens

    def __call__(
        self, store: FrameStore, indices: Sequence[int], stream: Sequence[int]
    ) -> FrameBatch:
        """Return the batch of some examples.

        Args:
            store: holds them.
            indices: of the examples in the store.
            stream: keys the random choices.
        """
        rng = np.random.default_rng([self._recipe.seed, 4, *stream])
        examples = [store.examples[index] for index in indices]
        frames = [self._masked(store.frames(example), rng) for example in examples]
        rows = [self._tokens(example, store, rng) for example in examples]
        targets = [self._encode(example.text) if example.text else [] for example in examples]
        return FrameBatch(
            frames=torch.from_numpy(np.concatenate(frames)),
            frame_counts=torch.tensor([example.frames for example in examples]),
            inputs=self._inputs.pad_examples(rows),
            targets=torch.tensor([1 + token for row in targets for token in row], dtype=torch.long),
            target_counts=torch.tensor([len(row) for row in targets]),
        )

    def _masked(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A copy in float32 with stretches of time and some dimensions set to zero."""
        values = frames.astype(np.float32)
        recipe = self._recipe
        if recipe.feature_dropout:
            values[:, rng.random(values.shape[1]) < recipe.feature_dropout] = 0.0
        longest = round(recipe.time_mask_s * FRAMES_PER_S)
        for _ in range(int(rng.poisson(recipe.time_masks_per_s * len(values) / FRAMES_PER_S))):
            width = int(rng.integers(1, longest + 1))
            start = int(rng.integers(max(1, len(values) - width)))
            values[start : start + width] = 0.0
        return values

    def _tokens(
        self, example: FrameExample, store: FrameStore, rng: np.random.Generator
    ) -> tuple[list[int], list[int]]:
        """Input ids and labels; only the assistant's turn is learnt."""
        context = ""
        if rng.random() < self._recipe.context_share:
            other = store.examples[int(rng.integers(len(store.examples)))].text
            context = draw_context(example.text, other, rng)
        language = "en" if example.text else None
        mel_frames = example.frames * self._mel_frames_per_token
        return self._inputs.example(mel_frames, example.text, language, context)

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text)["input_ids"])


class PhaseData:
    """The examples of a phase and the order in which they come.

    Args:
        phase: of the recipe.
        first_step: of the phase, counted from the start of the run.
        folder: of the encoder frames; read when the phase begins, so that a run may start while
            later parts are still being made.
        seed: of the order.
    """

    def __init__(self, phase: DecoderPhase, first_step: int, folder: Path, seed: int) -> None:
        self.phase = phase
        self.first_step = first_step
        self._folder = folder
        self._seed = seed

    def batch(self, step: int) -> list[int]:
        """Return the examples of a step, counted from the start of the run.

        Raises:
            TrainingError: frames of the phase are missing, or all are too long.
        """
        return [self._indices[i] for i in self._schedule.batch(step - self.first_step)]

    @cached_property
    def store(self) -> FrameStore:
        """All examples of the phase's manifests."""
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
