"""Plan the corpus of `tiny`: every clip is drawn before any audio is made.

The plan is a pure function of the recipe, so that the corpus does not depend on the number of
workers or on interruptions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

import numpy as np
from pydantic import Field

from megaasr.config import Recipe
from megaasr.synthesize.sentences import generate_sentences, normalize
from megaasr.synthesize.voices import Voice, draw_voice

SPLITS = ("train", "dev", "test")
_DEV_SHARE, _TEST_SHARE = 0.03, 0.06


class CorpusRecipe(Recipe):
    """Recipe of a corpus of synthesised speech; all counts are numbers of clips."""

    seed: int = Field(ge=0, description="seed of every random choice")
    train: int = Field(ge=0, description="training sentences, one voice each")
    dev: int = Field(ge=0, description="development sentences, training voices")
    test: int = Field(ge=0, description="test sentences in training voices")
    test_held_out: int = Field(ge=0, description="test sentences in held-out voices")
    handwritten: bool = Field(
        description="whether to add the handwritten test sentences, in both kinds of voice"
    )
    joined: int = Field(ge=0, description="test clips of up to 15 s, and as many of up to 30 s")
    nonspeech_train: int = Field(ge=0, description="training clips without speech")
    nonspeech_dev: int = Field(ge=0, description="development clips without speech")
    nonspeech_test: int = Field(ge=0, description="test clips without speech")


@dataclass(frozen=True, slots=True)
class PlannedClip:
    """A clip to make.

    Attributes:
        id: stable id, which starts with the split.
        kind: `sentence`, `nonspeech` or `joined`.
        source: source of the text: `generator`, `handwritten`, `nonspeech`, or one of a text
            corpus.
        text: transcript; empty without speech.
        voice: voice of a sentence; None for other clips.
        held_out: whether the voice does not occur in training.
        parts: ids of the clips that a joined clip consists of.
        pauses_s: silence after each part of a joined clip, or before and after the speech of a
            sentence, in seconds.
    """

    id: str
    kind: str
    source: str
    text: str = ""
    voice: Voice | None = None
    held_out: bool = False
    parts: tuple[str, ...] = ()
    pauses_s: tuple[float, ...] = ()

    @property
    def split(self) -> str:
        """Split of the clip: `train`, `dev` or `test`."""
        return self.id.split("-", 1)[0]


def random_stream(seed: int, clip_id: str) -> np.random.Generator:
    """Return the random generator of a clip, which depends on seed and id alone."""
    digest = hashlib.sha256(clip_id.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])


def split_of(sentence: str) -> str:
    """Return the split of a sentence, which depends on a hash of its words alone."""
    digest = hashlib.sha256(normalize(sentence).encode()).digest()
    share = int.from_bytes(digest[:4], "big") / 2**32
    if share < _TEST_SHARE:
        return "test"
    return "dev" if share < _TEST_SHARE + _DEV_SHARE else "train"


def handwritten_sentences() -> list[str]:
    """Return the handwritten test sentences, in order."""
    text = (resources.files("megaasr.synthesize") / "data" / "handwritten.txt").read_text("utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]


def plan_corpus(recipe: CorpusRecipe) -> list[PlannedClip]:
    """Return every clip of the corpus: sentences, clips without speech, and then joined clips."""
    sentences = list(_planned_sentences(recipe))
    nonspeech = [
        PlannedClip(f"{split}-n{number:06d}", "nonspeech", "nonspeech")
        for split, count in zip(
            SPLITS,
            (recipe.nonspeech_train, recipe.nonspeech_dev, recipe.nonspeech_test),
            strict=True,
        )
        for number in range(count)
    ]
    return [*sentences, *nonspeech, *_planned_joins(recipe, sentences)]


def _planned_sentences(recipe: CorpusRecipe) -> Iterator[PlannedClip]:
    counts = {
        "train": recipe.train,
        "dev": recipe.dev,
        "test": recipe.test + recipe.test_held_out,
    }
    by_split = _sentences_by_split(recipe.seed, counts)
    for split in SPLITS:
        for number, text in enumerate(by_split[split]):
            held_out = split == "test" and number >= recipe.test
            yield _sentence(
                recipe.seed, f"{split}-s{number:06d}", "generator", text, held_out=held_out
            )
    for number, text in enumerate(handwritten_sentences() if recipe.handwritten else []):
        yield _sentence(recipe.seed, f"test-h{number:06d}", "handwritten", text, held_out=False)
        yield _sentence(recipe.seed, f"test-h{number:06d}x", "handwritten", text, held_out=True)


def _sentence(seed: int, clip_id: str, source: str, text: str, *, held_out: bool) -> PlannedClip:
    voice = draw_voice(random_stream(seed, clip_id), held_out=held_out)
    return PlannedClip(
        id=clip_id, kind="sentence", source=source, text=text, voice=voice, held_out=held_out
    )


def _sentences_by_split(seed: int, counts: dict[str, int]) -> dict[str, list[str]]:
    """Generate sentences until every split has enough; a hash decides the split of a sentence."""
    share = {"test": _TEST_SHARE, "dev": _DEV_SHARE, "train": 1 - _TEST_SHARE - _DEV_SHARE}
    generated = max(int(1.1 * counts[split] / share[split]) + 50 for split in SPLITS)
    sentences: dict[str, list[str]] = {split: [] for split in SPLITS}
    # A handwritten sentence that the generator happens to produce would leak into training.
    excluded = {normalize(sentence) for sentence in handwritten_sentences()}
    while True:
        for split in SPLITS:
            sentences[split].clear()
        for sentence in generate_sentences(generated, seed):
            if normalize(sentence) not in excluded:
                sentences[split_of(sentence)].append(sentence)
        if all(len(sentences[split]) >= counts[split] for split in SPLITS):
            return {split: sentences[split][: counts[split]] for split in SPLITS}
        generated = int(generated * 1.3)


def _planned_joins(recipe: CorpusRecipe, sentences: list[PlannedClip]) -> Iterator[PlannedClip]:
    """Yield test clips of several sentences in training voices, with pauses between them."""
    pool = [clip for clip in sentences if clip.split == "test" and clip.source == "generator"]
    pool = [clip for clip in pool if not clip.held_out]
    for limit_s in (15, 30) if pool else ():
        for number in range(recipe.joined):
            clip_id = f"test-j{limit_s}-{number:04d}"
            rng = random_stream(recipe.seed, clip_id)
            parts, pauses = _fill(limit_s, pool, rng)
            text = " ".join(part.text for part in parts)
            ids = tuple(part.id for part in parts)
            yield PlannedClip(
                clip_id, "joined", "generator", text, parts=ids, pauses_s=tuple(pauses)
            )


def _fill(
    limit_s: float, pool: list[PlannedClip], rng: np.random.Generator
) -> tuple[list[PlannedClip], list[float]]:
    """Return sentences in random order that are certain to fit, and the pauses after them."""
    parts: list[PlannedClip] = []
    pauses: list[float] = []
    remaining_s = limit_s
    for index in rng.permutation(len(pool)):
        clip, pause_s = pool[int(index)], round(float(rng.uniform(0.3, 1.2)), 3)
        slowdown = clip.voice.stretch if clip.voice else 1.0
        # 0.45 s per word is slow for a natural tempo, so that the slowest voices fit, too.
        estimate_s = (0.45 * len(clip.text.split()) + 0.5) * slowdown + pause_s
        if estimate_s > remaining_s:
            break
        parts.append(clip)
        pauses.append(pause_s)
        remaining_s -= estimate_s
    return parts, pauses
