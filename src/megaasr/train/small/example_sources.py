"""Where the examples of a training step come from: encoded speech, or sentences of text."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np

from megaasr.errors import TrainingError
from megaasr.train.small.alignment import read_alignment
from megaasr.train.small.batching import BatchSchedule
from megaasr.train.small.concatenation import SpokenFrames, UnitInventory
from megaasr.train.small.decoder_recipe import DecoderPhase, DecoderRecipe
from megaasr.train.small.frames import FrameStore
from megaasr.train.small.language_model import read_sentences
from megaasr.train.small.lexicon import Lexicon, spoken_words
from megaasr.train.small.stem import GEOMETRY


class ExampleSource(Protocol):
    """Examples by index, with encoder frames, text and phonemes."""

    @property
    def lengths(self) -> Sequence[int]:
        """Number of frames of each example, at least roughly."""

    def text(self, index: int) -> str:
        """Return the transcript of an example; empty without speech."""

    def phonemes(self, index: int) -> str:
        """Return the phonemes of an example, without spaces."""

    def frames(self, index: int, rng: np.random.Generator) -> SpokenFrames:
        """Return the encoder frames of an example in a new array."""


class SpeechExamples:
    """The examples of encoded speech up to a length.

    Args:
        store: encoder frames.
        lexicon: pronunciations of all words.
        max_frames: longer examples are left out.
        words: bounds of the words by the example's shard and first frame there, where known.

    Raises:
        TrainingError: all examples are longer, or the lexicon lacks a word.
    """

    def __init__(
        self,
        store: FrameStore,
        lexicon: Lexicon,
        max_frames: float,
        words: Mapping[tuple[int, int], tuple[tuple[int, int], ...]],
    ) -> None:
        self._store = store
        self._words = words
        self._examples = [e for e in store.examples if e.frames <= max_frames]
        if not self._examples:
            raise TrainingError(f"there is no example of at most {max_frames:g} encoder frames")
        self._phonemes = []
        for example in self._examples:
            phonemes = lexicon.pronounce(example.text)
            if phonemes is None:
                raise TrainingError(f"the lexicon lacks a word of {example.text!r}")
            self._phonemes.append("".join(phonemes))

    @cached_property
    def lengths(self) -> Sequence[int]:
        """Number of frames of each example."""
        return [example.frames for example in self._examples]

    def text(self, index: int) -> str:
        """Return the transcript of an example; empty without speech."""
        return self._examples[index].text

    def phonemes(self, index: int) -> str:
        """Return the phonemes of an example, without spaces."""
        return self._phonemes[index]

    def frames(self, index: int, rng: np.random.Generator) -> SpokenFrames:
        """Return the encoder frames of an example in a new array."""
        example = self._examples[index]
        words = self._words.get((example.shard, example.start), ())
        return SpokenFrames(self._store.frames(example).astype(np.float32), words)


class TextExamples:
    """Sentences of text with frames that are concatenated from other speech.

    Args:
        sentences: sentences and the phonemes of their words; those with a phoneme that nobody spoke
            are left out.
        inventory: where the frames of words and phonemes come from.
        phoneme_frames: most frames of a phoneme.
        max_frames: longer sentences are left out.

    Raises:
        TrainingError: no sentence is left.
    """

    def __init__(
        self,
        sentences: Iterable[tuple[str, list[str]]],
        inventory: UnitInventory,
        phoneme_frames: int,
        max_frames: float,
    ) -> None:
        self._inventory = inventory
        self._phoneme_frames = phoneme_frames
        self._examples: list[tuple[str, list[str]]] = []
        self._lengths: list[int] = []
        for text, phonemes in sentences:
            if not inventory.can_assemble(phonemes):
                continue
            length = inventory.estimated_frames(phonemes, phoneme_frames)
            if length <= max_frames:
                self._examples.append((text, phonemes))
                self._lengths.append(length)
        if not self._examples:
            raise TrainingError(f"no sentence has at most {max_frames:g} encoder frames")

    @property
    def lengths(self) -> Sequence[int]:
        """Number of frames of each example, roughly."""
        return self._lengths

    def text(self, index: int) -> str:
        """Return the sentence of an example."""
        return self._examples[index][0]

    def phonemes(self, index: int) -> str:
        """Return the phonemes of an example, without spaces."""
        return "".join(self._examples[index][1])

    def frames(self, index: int, rng: np.random.Generator) -> SpokenFrames:
        """Return concatenated encoder frames; each call draws others."""
        text, phonemes = self._examples[index]
        return self._inventory.assemble(spoken_words(text), phonemes, self._phoneme_frames, rng)


class SharedInputs:
    """What the phases of a run have in common, read when it is first used.

    Args:
        recipe: where lexicon, sentences, frames and alignments are.
    """

    def __init__(self, recipe: DecoderRecipe) -> None:
        self._recipe = recipe
        self._inventories: dict[tuple[str, ...], UnitInventory] = {}

    @cached_property
    def lexicon(self) -> Lexicon:
        """Pronunciations of all words."""
        return Lexicon.load(self._recipe.lexicon)

    @cached_property
    def pronounced_sentences(self) -> list[tuple[str, list[str]]]:
        """The sentences of the text whose words are all in the lexicon, and their phonemes."""
        assert self._recipe.sentences is not None
        texts = read_sentences(self._recipe.sentences, "train")
        pronounced = ((text, self.lexicon.pronounce(text)) for text in texts)
        return [(text, phonemes) for text, phonemes in pronounced if phonemes]

    def inventory(self, manifests: tuple[str, ...]) -> UnitInventory:
        """Return the aligned words and phonemes of some manifests.

        Raises:
            TrainingError: frames or alignments are missing.
        """
        if manifests not in self._inventories:
            recipe = self._recipe
            assert recipe.alignments is not None
            self._inventories[manifests] = UnitInventory(
                recipe.frames, recipe.alignments, manifests, recipe.word_share
            )
        return self._inventories[manifests]

    def speech(self, manifests: tuple[str, ...], max_frames: float) -> SpeechExamples:
        """Return the encoded speech of some manifests, up to a length.

        Raises:
            TrainingError: frames or alignments are missing, or all examples are longer.
        """
        store = FrameStore(self._recipe.frames, manifests)
        words = self._bounds_of_words(store, manifests)
        return SpeechExamples(store, self.lexicon, max_frames, words)

    def _bounds_of_words(
        self, store: FrameStore, manifests: Sequence[str]
    ) -> dict[tuple[int, int], tuple[tuple[int, int], ...]]:
        """Return the bounds of the words of every aligned example, counted from its start."""
        folder = self._recipe.alignments
        if folder is None:
            return {}
        starts = [
            [e.start for e in store.examples if e.shard == s] for s in range(len(store.shards))
        ]
        words = {}
        for shard, manifest in enumerate(manifests):
            for row in read_alignment(folder, manifest):
                if row:
                    start = starts[shard][bisect_right(starts[shard], row[0].bounds[0]) - 1]
                    words[shard, start] = tuple(
                        (word.bounds[0] - start, word.bounds[-1] - start) for word in row
                    )
        return words


class PhaseData:
    """The examples of a phase and their order.

    They are read when the phase begins, so that a run may start before later parts have been
    encoded.

    Args:
        phase: recipe of the phase.
        first_step: first step of the phase, counted from the start of the run.
        inputs: what the phases have in common.
        seed: seed of the order.
    """

    def __init__(
        self, phase: DecoderPhase, first_step: int, inputs: SharedInputs, seed: int
    ) -> None:
        self.phase = phase
        self.first_step = first_step
        self._inputs = inputs
        self._seed = seed

    def batch(self, step: int) -> tuple[ExampleSource, list[int]]:
        """Return the source of a step's examples and their indices in it.

        Args:
            step: step, counted from the start of the run.

        Raises:
            TrainingError: frames or alignments of the phase are missing, or all examples are too
                long.
        """
        share, done = self.phase.text_share, step - self.first_step
        text_steps = int(done * share)
        if int((done + 1) * share) > text_steps:
            return self._text, self._text_schedule.batch(text_steps)
        return self._speech, self._speech_schedule.batch(done - text_steps)

    @property
    def _max_frames(self) -> float:
        return self.phase.max_s * GEOMETRY.tokens_per_s

    @cached_property
    def _speech(self) -> SpeechExamples:
        return self._inputs.speech(self.phase.manifests, self._max_frames)

    @cached_property
    def _text(self) -> TextExamples:
        inputs, phase = self._inputs, self.phase
        inventory = inputs.inventory(phase.manifests)
        sentences = inputs.pronounced_sentences
        return TextExamples(sentences, inventory, phase.phoneme_frames, self._max_frames)

    @cached_property
    def _speech_schedule(self) -> BatchSchedule:
        return self._schedule(self._speech)

    @cached_property
    def _text_schedule(self) -> BatchSchedule:
        return self._schedule(self._text)

    def _schedule(self, source: ExampleSource) -> BatchSchedule:
        batch_frames = self.phase.batch_s * GEOMETRY.tokens_per_s
        return BatchSchedule(source.lengths, batch_frames, self._seed)
