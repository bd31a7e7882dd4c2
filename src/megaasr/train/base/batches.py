"""Batches of the from-scratch stage: a pure function of (recipe, epoch, step).

An example is one clip or several joined with pauses. Nothing depends on what was drawn before,
so a resumed run sees exactly the batches that an uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from megaasr.model.inputs import Features, InputBuilder
from megaasr.model.interface import MAX_CHUNK_S
from megaasr.train.base.augment import augment, mask
from megaasr.train.base.feature_store import FeatureStore
from megaasr.train.base.recipe import AugmentRecipe, BaseRecipe
from megaasr.train.log_mel import FLOOR_LOG10, finish
from megaasr.train.prompt_context import draw_context

_MAX_PAUSE_S = 1.2
"""Longest pause after each clip of a joined example."""


@dataclass(frozen=True, slots=True)
class Example:
    """Clips (indices into the store) that are spoken one after another."""

    clips: tuple[int, ...]
    frames: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What one forward pass needs.

    Attributes:
        inputs: the native model's arguments; features [batch, mels, frames], frames a whole
            number of chunks, padded on the right.
        phonemes: CTC targets, all clips one after another; `phoneme_lengths` cuts them.
        audio_s: seconds of audio, padding not counted.
    """

    inputs: dict[str, torch.Tensor]
    phonemes: torch.Tensor
    phoneme_lengths: torch.Tensor
    audio_s: float


def plan_epoch(
    store: FeatureStore, recipe: BaseRecipe, epoch: int, *, short_only: bool
) -> list[list[Example]]:
    """Return an epoch's batches: every clip once, alone or joined, batched by length."""
    rng = np.random.default_rng([recipe.seed, 1, epoch, int(short_only)])
    frames_per_s = store.geometry.frames_per_s
    limit = (recipe.short_first_s if short_only else MAX_CHUNK_S) * frames_per_s
    order = [int(i) for i in rng.permutation(len(store)) if store.clips[int(i)].frames <= limit]
    join_share = 0.0 if short_only else recipe.augment.join_share
    examples = sorted(_join(order, store, join_share, recipe.augment.join_max_s, rng), key=_size)
    batches = _pack(examples, recipe.batch_s * frames_per_s)
    return [batches[int(i)] for i in rng.permutation(len(batches))]


def _size(example: Example) -> int:
    return example.frames


def _join(
    order: Sequence[int],
    store: FeatureStore,
    share: float,
    max_s: float,
    rng: np.random.Generator,
) -> Iterator[Example]:
    """Take clips in order; some examples go on taking clips up to a drawn length."""
    frames = [clip.frames for clip in store.clips]
    frames_per_s, pause = store.geometry.frames_per_s, store.geometry.frames_in(_MAX_PAUSE_S)
    pending = list(order)
    while pending:
        clips = [pending.pop()]
        total = frames[clips[0]]
        # A pause follows every clip, and silence may lead the example.
        target = rng.uniform(6.0, max_s - 2.5) * frames_per_s if rng.random() < share else 0
        while pending and total + frames[pending[-1]] + pause <= target:
            clips.append(pending.pop())
            total += frames[clips[-1]] + pause
        yield Example(tuple(clips), total)


def _pack(examples: Sequence[Example], batch_frames: float) -> list[list[Example]]:
    """Cut a list sorted by length into batches of about equal audio."""
    batches: list[list[Example]] = []
    batch: list[Example] = []
    for example in examples:
        if batch and (len(batch) + 1) * example.frames > batch_frames:
            batches.append(batch)
            batch = []
        batch.append(example)
    return [*batches, batch] if batch else batches


class BatchBuilder:
    """Turns planned examples into tensors."""

    def __init__(
        self,
        store: FeatureStore,
        phonemes: Sequence[Sequence[int]],
        tokenizer: PreTrainedTokenizerBase,
        recipe: BaseRecipe,
    ) -> None:
        self._store = store
        self._phonemes = phonemes
        self._recipe = recipe
        self._plain = augment_off(recipe.augment)
        self._inputs = InputBuilder(tokenizer, store.geometry)
        self._geometry = store.geometry

    def build(
        self, examples: Sequence[Example], stream: Sequence[int], *, plain: bool = False
    ) -> Batch:
        """Return a batch; every random choice is keyed by the recipe's seed and `stream`.

        Args:
            examples: as `plan_epoch` groups them.
            stream: what the random choices depend on: the step and the process.
            plain: leave the augmentation out.
        """
        rng = np.random.default_rng([self._recipe.seed, 2, *stream])
        recipe = self._plain if plain else self._recipe.augment
        features = [self._features(example, recipe, rng) for example in examples]
        rows = [self._tokens(e, len(f), rng) for e, f in zip(examples, features, strict=True)]
        phonemes = [[p for clip in e.clips for p in self._phonemes[clip]] for e in examples]
        return Batch(
            inputs={**self._inputs.pad_features(features), **self._inputs.pad_examples(rows)},
            phonemes=torch.tensor([p for one in phonemes for p in one], dtype=torch.long),
            phoneme_lengths=torch.tensor([len(one) for one in phonemes], dtype=torch.long),
            audio_s=self._geometry.seconds(sum(len(f) for f in features)),
        )

    def _features(
        self, example: Example, recipe: AugmentRecipe, rng: np.random.Generator
    ) -> Features:
        pieces = [self._silence(rng.uniform(0.0, recipe.lead_s))]
        for clip in example.clips:
            pieces.append(self._store.features(clip))
            if len(example.clips) > 1:
                pieces.append(self._silence(rng.uniform(0.1, _MAX_PAUSE_S)))
        whole = np.concatenate(pieces)[: self._geometry.frames_in(MAX_CHUNK_S)]
        joined = augment(whole, recipe, rng)
        return mask(finish(joined), recipe, rng, self._geometry.frames_per_s)

    def _silence(self, seconds: float) -> Features:
        shape = (self._geometry.frames_in(seconds), self._geometry.mel_bins)
        return np.full(shape, FLOOR_LOG10, dtype=np.float32)

    def _tokens(
        self, example: Example, frames: int, rng: np.random.Generator
    ) -> tuple[list[int], list[int]]:
        """Return input ids and labels; only the assistant's turn is learnt."""
        utterances = [self._store.clips[clip].utterance for clip in example.clips]
        text = " ".join(u.text for u in utterances if u.text)
        context = ""
        if rng.random() < self._recipe.augment.context_share:
            clips = self._store.clips
            other = clips[int(rng.integers(len(clips)))].utterance.text
            context = draw_context(text, other, rng)
        return self._inputs.example(frames, text, "en" if text else None, context)


def augment_off(recipe: AugmentRecipe) -> AugmentRecipe:
    """Return the recipe with every augmentation switched off."""
    off = dict.fromkeys(("join_share", "lead_s", "context_share", "noise_share", "gain_db"), 0)
    return recipe.model_copy(update={**off, "frequency_masks": 0, "time_masks_per_s": 0.0})
