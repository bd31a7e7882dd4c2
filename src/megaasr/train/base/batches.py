"""Batches of training from scratch: a pure function of recipe, epoch and step.

An example is one clip, or several clips joined with pauses. Nothing depends on earlier random
draws, so a resumed run trains on exactly the batches of an uninterrupted one.
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
from megaasr.train.log_mel import FLOOR_LOG10, floor_and_scale
from megaasr.train.packing import pack_by_length
from megaasr.train.prompt_context import draw_context

_MAX_PAUSE_S = 1.2
"""Longest pause after each clip of a joined example, in seconds."""


@dataclass(frozen=True, slots=True)
class Example:
    """A training example before its features are built.

    Attributes:
        clips: indices of its clips in the store, in the order in which they are spoken.
        frames: length in mel frames, with the longest possible pauses.
    """

    clips: tuple[int, ...]
    frames: int


@dataclass(frozen=True, slots=True)
class Batch:
    """The tensors of one forward pass.

    Attributes:
        inputs: keyword arguments of the native model. Features have the shape [batch, mels,
            frames], padded on the right to a multiple of the chunk length.
        phonemes: CTC targets, int64; the phonemes of all examples in sequence.
        phoneme_lengths: number of phonemes of each example, int64 of shape [batch].
        audio_s: seconds of audio, without padding.
    """

    inputs: dict[str, torch.Tensor]
    phonemes: torch.Tensor
    phoneme_lengths: torch.Tensor
    audio_s: float

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(
            inputs={name: tensor.to(device) for name, tensor in self.inputs.items()},
            phonemes=self.phonemes.to(device),
            phoneme_lengths=self.phoneme_lengths.to(device),
            audio_s=self.audio_s,
        )


def plan_epoch(
    store: FeatureStore, recipe: BaseRecipe, epoch: int, *, short_only: bool
) -> list[list[Example]]:
    """Return the batches of an epoch: every clip once, alone or joined, batched by length.

    Args:
        store: features of the training clips.
        recipe: shares, lengths and the seed.
        epoch: index of the epoch, from 0.
        short_only: whether only short, single clips are used.
    """
    rng = np.random.default_rng([recipe.seed, 1, epoch, int(short_only)])
    frames_per_s = store.geometry.frames_per_s
    limit = (recipe.short_first_s if short_only else MAX_CHUNK_S) * frames_per_s
    order = [int(i) for i in rng.permutation(len(store)) if store.clips[int(i)].frames <= limit]
    augmentation = without_augmentation(recipe.augment) if short_only else recipe.augment
    examples = sorted(_join(order, store, augmentation, rng), key=_length)
    batches = pack_by_length(examples, _length, recipe.batch_s * frames_per_s)
    return [batches[int(i)] for i in rng.permutation(len(batches))]


def _length(example: Example) -> int:
    return example.frames


def _join(
    order: Sequence[int], store: FeatureStore, recipe: AugmentRecipe, rng: np.random.Generator
) -> Iterator[Example]:
    """Make examples of the clips in order; some examples take clips up to a drawn length."""
    frames = [clip.frames for clip in store.clips]
    frames_per_s, pause = store.geometry.frames_per_s, store.geometry.frames_in(_MAX_PAUSE_S)
    pending = list(order)
    while pending:
        clips = [pending.pop()]
        total = frames[clips[0]]
        # A pause follows every clip, and silence may precede the example.
        is_joined = rng.random() < recipe.join_share
        target = rng.uniform(6.0, recipe.join_max_s - 2.5) * frames_per_s if is_joined else 0
        while pending and total + frames[pending[-1]] + pause <= target:
            clips.append(pending.pop())
            total += frames[clips[-1]] + pause
        yield Example(tuple(clips), total)


class BatchBuilder:
    """Builds the tensors of planned examples.

    Args:
        store: features of the training clips.
        phonemes: phoneme numbers of each clip of the store, from 1.
        tokenizer: tokenizer of the model.
        recipe: augmentation and seed.
    """

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
        self._plain = without_augmentation(recipe.augment)
        self._inputs = InputBuilder(tokenizer, store.geometry)
        self._geometry = store.geometry

    def build(
        self, examples: Sequence[Example], stream: Sequence[int], *, plain: bool = False
    ) -> Batch:
        """Return a batch; the recipe's seed and `stream` decide every random choice.

        Args:
            examples: examples that `plan_epoch` put into one batch.
            stream: key of the random choices: the step and the rank of the process.
            plain: whether the augmentation is left out.
        """
        rng = np.random.default_rng([self._recipe.seed, 2, *stream])
        recipe = self._plain if plain else self._recipe.augment
        features = [self._features(example, recipe, rng) for example in examples]
        rows = [self._tokens(e, len(f), rng) for e, f in zip(examples, features, strict=True)]
        phonemes = [[p for clip in e.clips for p in self._phonemes[clip]] for e in examples]
        return Batch(
            inputs={**self._inputs.pad_features(features), **self._inputs.pad_examples(rows)},
            phonemes=torch.tensor([p for row in phonemes for p in row], dtype=torch.long),
            phoneme_lengths=torch.tensor([len(row) for row in phonemes], dtype=torch.long),
            audio_s=self._geometry.seconds(sum(len(f) for f in features)),
        )

    def _features(
        self, example: Example, recipe: AugmentRecipe, rng: np.random.Generator
    ) -> Features:
        parts = [self._silence(rng.uniform(0.0, recipe.lead_s))]
        for clip in example.clips:
            parts.append(self._store.features(clip))
            if len(example.clips) > 1:
                parts.append(self._silence(rng.uniform(0.1, _MAX_PAUSE_S)))
        joined = np.concatenate(parts)[: self._geometry.frames_in(MAX_CHUNK_S)]
        augmented = floor_and_scale(augment(joined, recipe, rng))
        return mask(augmented, recipe, rng, self._geometry.frames_per_s)

    def _silence(self, seconds: float) -> Features:
        shape = (self._geometry.frames_in(seconds), self._geometry.mel_bins)
        return np.full(shape, FLOOR_LOG10, dtype=np.float32)

    def _tokens(
        self, example: Example, frames: int, rng: np.random.Generator
    ) -> tuple[list[int], list[int]]:
        """Return input ids and labels; only the assistant's turn has labels."""
        clips = self._store.clips
        utterances = [clips[clip].utterance for clip in example.clips]
        text = " ".join(u.text for u in utterances if u.text)
        context = draw_context(
            text,
            rng,
            share=self._recipe.augment.context_share,
            text_count=len(clips),
            text_at=lambda index: clips[index].utterance.text,
        )
        return self._inputs.example(frames, text, "en" if text else None, context)


def without_augmentation(recipe: AugmentRecipe) -> AugmentRecipe:
    """Return the recipe with every augmentation switched off."""
    off = dict.fromkeys(("join_share", "lead_s", "context_share", "noise_share", "gain_db"), 0)
    return recipe.model_copy(update={**off, "frequency_masks": 0, "time_masks_per_s": 0.0})
