"""Encoder frames for sentences that nobody spoke: concatenated words and phonemes of other speech.

The decoder memorises the few thousand sentences that can be synthesised and encoded in an hour.
Text is plentiful: the frames of a sentence are assembled from those of aligned words in other
examples, and words that were never spoken from phonemes. So the decoder learns to read what the
projector hears, and to spell it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megaasr.errors import TrainingError
from megaasr.train.small.alignment import AlignedWord, read_alignment
from megaasr.train.small.frames import Frames, FrameStore

_PAUSE_FRAMES = 15
"""Longest pause between two words, and before and after a sentence."""
_PAUSE_SHARE = 0.08
"""Share of the words that a pause follows."""
_MEAN_PHONEME_FRAMES = 3.7


@dataclass(frozen=True, slots=True)
class Unit:
    """Consecutive phonemes of one example.

    Attributes:
        shard: index of the shard.
        bounds: first frame of each phoneme, and the frame after the last.
        peaks: the frame in which CTC emits each phoneme.
    """

    shard: int
    bounds: tuple[int, ...]
    peaks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SpokenFrames:
    """The encoder frames of an example.

    Attributes:
        values: float32 of shape [frames, width].
        words: first frame of each word and the frame after its last; empty if it is not known.
    """

    values: NDArray[np.float32]
    words: tuple[tuple[int, int], ...]


class UnitInventory:
    """The aligned words, phonemes and pauses of a corpus.

    Args:
        frames: folder of encoder frames.
        alignments: folder of the alignments of their words.
        manifests: names of the manifests.
        word_share: share of the spoken words that are taken as they were spoken; the others, and
            words that nobody spoke, are assembled from phonemes.

    Raises:
        TrainingError: frames or alignments are missing.
    """

    def __init__(
        self, frames: Path, alignments: Path, manifests: Sequence[str], word_share: float
    ) -> None:
        self._shards: list[Frames] = []
        self._words: dict[str, list[Unit]] = defaultdict(list)
        self._phonemes: dict[str, list[Unit]] = defaultdict(list)
        self._pauses: list[tuple[int, int, int]] = []
        self._word_share = word_share
        for number, manifest in enumerate(manifests):
            self._shards.append(FrameStore(frames, [manifest]).shards[0])
            for words in read_alignment(alignments, manifest):
                self._add(number, words)
        if not self._words or not self._pauses:
            raise TrainingError(f"{alignments} holds no aligned words with pauses between them")

    def _add(self, shard: int, words: Sequence[AlignedWord]) -> None:
        for word in words:
            self._words[word.text].append(Unit(shard, word.bounds, word.peaks))
            for i, phoneme in enumerate(word.phonemes):
                unit = Unit(shard, word.bounds[i : i + 2], word.peaks[i : i + 1])
                self._phonemes[phoneme].append(unit)
        for before, after in pairwise(words):
            if after.bounds[0] - before.bounds[-1] > 2:
                self._pauses.append((shard, before.bounds[-1] + 1, after.bounds[0] - 1))

    def can_assemble(self, phonemes: Sequence[str]) -> bool:
        """Tell whether every phoneme of some words was spoken."""
        return all(phoneme in self._phonemes for word in phonemes for phoneme in word)

    def estimated_frames(self, phonemes: Sequence[str], phoneme_frames: int) -> int:
        """Return roughly the number of frames of a sentence."""
        per_phoneme = min(_MEAN_PHONEME_FRAMES, (1 + phoneme_frames) / 2)
        return round(sum(map(len, phonemes)) * per_phoneme) + 2 * _PAUSE_FRAMES

    def assemble(
        self,
        words: Sequence[str],
        phonemes: Sequence[str],
        phoneme_frames: int,
        rng: np.random.Generator,
    ) -> SpokenFrames:
        """Return the encoder frames of a sentence.

        Args:
            words: words in lower case.
            phonemes: the phonemes of each word.
            phoneme_frames: most frames of a phoneme, which are around its peak; fewer make shorter
                sentences, from which the decoder learns faster.
            rng: source of every random choice.
        """
        limit = int(rng.integers(1, phoneme_frames + 1))
        segments = [self._pause(rng, limit)]
        bounds = []
        for word, spelled in zip(words, phonemes, strict=True):
            first, start = len(segments), sum(map(len, segments))
            occurrences = self._words.get(word)
            if occurrences and rng.random() < self._word_share:
                segments += self._segments(occurrences[int(rng.integers(len(occurrences)))], limit)
            else:
                for phoneme in spelled:
                    spoken = self._phonemes[phoneme]
                    segments += self._segments(spoken[int(rng.integers(len(spoken)))], limit)
            bounds.append((start, start + sum(map(len, segments[first:]))))
            if rng.random() < _PAUSE_SHARE:
                segments.append(self._pause(rng, limit))
        segments.append(self._pause(rng, limit))
        return SpokenFrames(np.concatenate(segments).astype(np.float32), tuple(bounds))

    def _segments(self, unit: Unit, limit: int) -> list[Frames]:
        shard = self._shards[unit.shard]
        segments = []
        for (first, last), peak in zip(pairwise(unit.bounds), unit.peaks, strict=True):
            start = max(first, min(peak - limit // 2, last - limit))
            segments.append(shard[start : min(last, start + limit)])
        return segments

    def _pause(self, rng: np.random.Generator, limit: int) -> Frames:
        shard, first, last = self._pauses[int(rng.integers(len(self._pauses)))]
        length = int(rng.integers(1, min(_PAUSE_FRAMES, 3 * limit) + 1))
        return self._shards[shard][first : min(last, first + length)]
