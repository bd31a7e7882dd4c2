"""Plan the corpus of `small`: every clip is drawn before any audio is made.

The plan is a pure function of the recipe and the sentences. Training clips are grouped in numbered
parts. A part does not depend on the number of parts, and any prefix of its list is a balanced
sample of engines, voices and sources of text.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from megaasr.config import Recipe
from megaasr.errors import UsageError
from megaasr.synthesize.plan import PlannedClip, handwritten_sentences, random_stream, split_of
from megaasr.synthesize.sentences import normalize
from megaasr.synthesize.speakers import ENGINES, Engine, draw_speaker
from megaasr.synthesize.text_sentences import SourceSentence
from megaasr.synthesize.voices import Voice

LIMITS_S = (15, 30)
"""Maximum lengths of joined clips in seconds."""

_HELD_OUT_ENGINES: tuple[Engine, ...] = ("kokoro", "flite", "espeak")


class EngineShares(Recipe):
    """Shares of the engines in the spoken clips, which sum to 1."""

    kokoro: float = Field(ge=0, le=1, description="Kokoro: natural, many voices, slow")
    hibari: float = Field(ge=0, le=1, description="hibari: natural, one voice, fast")
    flite: float = Field(ge=0, le=1, description="flite: slt, rms and kal16")
    espeak: float = Field(ge=0, le=1, description="espeak-ng: accents and speaker variants")

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        if abs(sum(self.of(engine) for engine in ENGINES) - 1) > 1e-6:
            raise ValueError("the shares of the engines must sum to 1")
        return self

    def of(self, engine: Engine) -> float:
        """Return the share of an engine."""
        return float(getattr(self, engine))


class SpeechRecipe(Recipe):
    """Recipe of a corpus of text from a file in many voices; all counts are numbers of clips."""

    seed: int = Field(ge=0, description="seed of every random choice")
    sentences: Path = Field(description="JSONL file of sentences with text, source and kind")
    engines: Path = Field(description="folder of Kokoro and hibari, see `make voices`")
    parts: int = Field(ge=0, le=1000, description="number of parts of the training list")
    part_spoken: int = Field(ge=1, description="spoken sentences per part")
    part_nonspeech: int = Field(ge=0, description="clips without speech per part")
    part_joined: int = Field(
        ge=0, description="joined clips of up to 15 s per part, and as many of up to 30 s"
    )
    shares: EngineShares = Field(
        description="shares of the engines in the spoken clips of dev, test and the first part"
    )
    later_shares: EngineShares | None = Field(
        default=None, description="shares in the other parts; by default those of the first"
    )
    mixtures: float = Field(ge=0, le=1, description="share of mixtures among Kokoro's voices")
    second_voice: float = Field(
        ge=0, le=0.5, description="share of a part's spoken clips that repeat one of its sentences"
    )
    dev: int = Field(ge=0, description="development sentences, training voices")
    test: int = Field(ge=0, description="test sentences in training voices")
    test_held_out: int = Field(ge=0, description="test sentences in held-out voices")
    handwritten: bool = Field(
        description="whether to add the handwritten sentences, in both kinds of voice"
    )
    joined: int = Field(
        ge=0, description="joined clips of up to 15 s in dev and in test, as many of up to 30 s"
    )
    # Fields with a default are newer than some corpora, which the default describes.
    joined_word_s: float = Field(
        default=0.45, gt=0, description="estimated seconds per word for filling joined clips"
    )
    nonspeech_dev: int = Field(ge=0, description="development clips without speech")
    nonspeech_test: int = Field(ge=0, description="test clips without speech")

    def shares_of(self, part: int) -> EngineShares:
        """Return the shares of the engines in a part, counted from 0."""
        return self.later_shares if part and self.later_shares else self.shares


@dataclass(frozen=True, slots=True)
class SpeechPlan:
    """The clips of a corpus, computed on demand.

    Attributes:
        recipe: recipe of the corpus.
        by_split: distinct sentences of each split, in the order of their use.
    """

    recipe: SpeechRecipe
    by_split: dict[str, tuple[SourceSentence, ...]]

    def lists(self) -> list[str]:
        """Return the names of the manifests, in the order of their creation."""
        parts = [part_name(number) for number in range(self.recipe.parts)]
        return [*parts[:1], "dev", *parts[1:], "test"]

    def clips(self, name: str) -> list[PlannedClip]:
        """Return the clips of a manifest (`dev`, `test`, `train-000`), in order."""
        if name == "dev":
            return self._dev()
        return self._test() if name == "test" else self._part(int(name.removeprefix("train-")))

    def _part(self, number: int) -> list[PlannedClip]:
        recipe = self.recipe
        name = f"train-p{number:03d}"
        rng = random_stream(recipe.seed, f"{name}-plan")
        fresh = recipe.part_spoken - int(recipe.part_spoken * recipe.second_voice)
        texts = self._train_sentences(number * fresh, fresh)
        engines = _engines(rng, recipe.part_spoken, _shares(recipe.shares_of(number), ENGINES))
        spoken = [
            self._sentence(f"{name}-s{index:05d}", sentence, engine, held_out=False)
            for index, (sentence, engine) in enumerate(zip(texts, engines, strict=False))
        ]
        spoken += self._second_voices(name, spoken, engines[fresh:], rng)
        clips = [
            *spoken,
            *_nonspeech(name, recipe.part_nonspeech),
            *_joins(recipe, name, recipe.part_joined, spoken),
        ]
        return [clips[int(index)] for index in rng.permutation(len(clips))]

    def _train_sentences(self, start: int, count: int) -> list[SourceSentence]:
        """Return training sentences in order; after the last, the first is used again."""
        pool = self.by_split["train"]
        if not pool:
            raise UsageError("the sentences file has no sentence for training")
        return [pool[index % len(pool)] for index in range(start, start + count)]

    def _second_voices(
        self,
        name: str,
        spoken: Sequence[PlannedClip],
        engines: Sequence[Engine],
        rng: np.random.Generator,
    ) -> Iterator[PlannedClip]:
        """Yield clips that repeat sentences of the part with another speaker."""
        candidates = [spoken[int(index)] for index in rng.permutation(len(spoken))]
        for offset, engine in enumerate(engines):
            clip_id = f"{name}-s{len(spoken) + offset:05d}"
            voice = self._voice(clip_id, engine, held_out=False)
            other_speakers = (
                index
                for index, clip in enumerate(candidates)
                if clip.voice and clip.voice.speaker != voice.speaker
            )
            original = candidates.pop(next(other_speakers, 0))
            yield PlannedClip(
                id=clip_id,
                kind="sentence",
                source=original.source,
                text=original.text,
                voice=voice,
                pauses_s=self._pauses(clip_id),
            )

    def _dev(self) -> list[PlannedClip]:
        recipe = self.recipe
        spoken = self._spoken("dev-s", self._sentences("dev", recipe.dev), ENGINES, held_out=False)
        return [
            *spoken,
            *_nonspeech("dev", recipe.nonspeech_dev),
            *_joins(recipe, "dev", recipe.joined, spoken),
        ]

    def _test(self) -> list[PlannedClip]:
        recipe = self.recipe
        texts = self._sentences("test", recipe.test + recipe.test_held_out)
        trained = self._spoken("test-s", texts[: recipe.test], ENGINES, held_out=False)
        held_out = self._spoken("test-v", texts[recipe.test :], _HELD_OUT_ENGINES, held_out=True)
        handwritten = [
            SourceSentence(text, "handwritten", "statement")
            for text in (handwritten_sentences() if recipe.handwritten else [])
        ]
        return [
            *trained,
            *held_out,
            *self._spoken("test-h", handwritten, ENGINES, held_out=False),
            *self._spoken("test-x", handwritten, _HELD_OUT_ENGINES, held_out=True),
            *_nonspeech("test", recipe.nonspeech_test),
            *_joins(recipe, "test", recipe.joined, trained),
        ]

    def _sentences(self, split: str, count: int) -> Sequence[SourceSentence]:
        """Return the first sentences of a split."""
        sentences = self.by_split[split]
        if len(sentences) < count:
            raise UsageError(
                f"{self.recipe.sentences} has {len(sentences)} {split} sentences, and the recipe "
                f"needs {count}; give a larger file, or ask for fewer (--set {split}=…)"
            )
        return sentences[:count]

    def _spoken(
        self,
        prefix: str,
        texts: Sequence[SourceSentence],
        engines: tuple[Engine, ...],
        *,
        held_out: bool,
    ) -> list[PlannedClip]:
        rng = random_stream(self.recipe.seed, f"{prefix}-plan")
        drawn_engines = _engines(rng, len(texts), _shares(self.recipe.shares, engines))
        return [
            self._sentence(f"{prefix}{index:06d}", sentence, engine, held_out=held_out)
            for index, (sentence, engine) in enumerate(zip(texts, drawn_engines, strict=True))
        ]

    def _sentence(
        self, clip_id: str, sentence: SourceSentence, engine: Engine, *, held_out: bool
    ) -> PlannedClip:
        return PlannedClip(
            id=clip_id,
            kind="sentence",
            source=sentence.source,
            text=sentence.text,
            voice=self._voice(clip_id, engine, held_out=held_out),
            held_out=held_out,
            pauses_s=self._pauses(clip_id),
        )

    def _voice(self, clip_id: str, engine: Engine, *, held_out: bool) -> Voice:
        stream = random_stream(self.recipe.seed, clip_id)
        return draw_speaker(engine, stream, held_out=held_out, mixtures=self.recipe.mixtures)

    def _pauses(self, clip_id: str) -> tuple[float, float]:
        """Return the silence before and after the speech in seconds."""
        rng = random_stream(self.recipe.seed, f"{clip_id}-pauses")
        before, after = np.where(rng.random(2) < 0.4, 0.0, rng.uniform(0.0, (0.6, 0.8)))
        return round(float(before), 3), round(float(after), 3)


def part_name(number: int) -> str:
    """Return the name of the manifest of a part, such as `train-007`."""
    return f"train-{number:03d}"


def plan_speech(recipe: SpeechRecipe, sentences: Sequence[SourceSentence]) -> SpeechPlan:
    """Return the plan of a corpus.

    The split of a sentence and its place in the order depend on hashes of its words. Handwritten
    test sentences that occur among the sentences are left out.

    Args:
        recipe: recipe of the corpus.
        sentences: sentences to synthesise.
    """
    keyed = {normalize(sentence.text): sentence for sentence in reversed(sentences)}
    for text in handwritten_sentences():
        keyed.pop(normalize(text), None)
    keyed.pop("", None)
    by_split: dict[str, list[SourceSentence]] = {"train": [], "dev": [], "test": []}
    for key in sorted(keyed, key=lambda words: _rank(recipe.seed, words)):
        by_split[split_of(key)].append(keyed[key])
    return SpeechPlan(recipe, {split: tuple(pool) for split, pool in by_split.items()})


def _rank(seed: int, key: str) -> bytes:
    return hashlib.sha256(f"{seed} {key}".encode()).digest()


def _shares(shares: EngineShares, engines: tuple[Engine, ...]) -> dict[Engine, float]:
    """Return the shares of some engines; the first, which has most voices, gets the remainder."""
    selected = {engine: shares.of(engine) for engine in engines}
    selected[engines[0]] += 1.0 - sum(selected.values())
    return selected


def _engines(rng: np.random.Generator, count: int, shares: dict[Engine, float]) -> list[Engine]:
    """Return engines in random order, with counts that follow the shares as closely as possible."""
    bounds = [round(count * total) for total in itertools.accumulate(shares.values())]
    starts = [0, *bounds[:-1]]
    listed = [
        engine
        for engine, start, stop in zip(shares, starts, bounds, strict=True)
        for _ in range(start, stop)
    ]
    return [listed[int(index)] for index in rng.permutation(count)]


def _nonspeech(name: str, count: int) -> list[PlannedClip]:
    return [PlannedClip(f"{name}-n{i:05d}", "nonspeech", "nonspeech") for i in range(count)]


def _joins(
    recipe: SpeechRecipe, name: str, count: int, spoken: Sequence[PlannedClip]
) -> Iterator[PlannedClip]:
    """Yield clips of several sentences with pauses between them."""
    for limit_s in LIMITS_S if spoken else ():
        for number in range(count):
            clip_id = f"{name}-j{limit_s}-{number:04d}"
            rng = random_stream(recipe.seed, clip_id)
            parts, pauses = _fill(limit_s, spoken, rng, recipe.joined_word_s)
            if not parts:
                continue
            yield PlannedClip(
                clip_id,
                "joined",
                "joined",
                " ".join(part.text for part in parts),
                parts=tuple(part.id for part in parts),
                pauses_s=tuple(pauses),
            )


def _fill(
    limit_s: float, pool: Sequence[PlannedClip], rng: np.random.Generator, word_s: float
) -> tuple[list[PlannedClip], list[float]]:
    """Return sentences in random order that fit by estimate, and the pauses after them.

    At 0.45 s per word, which is slow for a natural tempo, the slowest voices fit, and clips are
    well below the limit: voices need 0.25 to 0.3 s on average.
    """
    parts: list[PlannedClip] = []
    pauses: list[float] = []
    remaining_s = limit_s
    for index in rng.permutation(len(pool))[:40]:
        clip, pause_s = pool[int(index)], round(float(rng.uniform(0.0, 1.0)), 3)
        slowdown = clip.voice.stretch if clip.voice else 1.0
        speech_s = (word_s * len(clip.text.split()) + 0.5) * slowdown
        estimate_s = speech_s + sum(clip.pauses_s) + pause_s
        if estimate_s > remaining_s:
            break
        parts.append(clip)
        pauses.append(pause_s)
        remaining_s -= estimate_s
    return parts, pauses
