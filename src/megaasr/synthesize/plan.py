"""What a synthesised corpus will hold: every utterance, drawn before any sound is made.

The plan is a pure function of the recipe, so the corpus is the same whatever the number of
workers and however often the work is interrupted.
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
    """A corpus of synthesised speech (counts are clips)."""

    seed: int = Field(ge=0, description="source of every choice")
    train: int = Field(ge=0, description="training sentences, one voice each")
    dev: int = Field(ge=0, description="development sentences, training voices")
    test: int = Field(ge=0, description="test sentences in training voices")
    test_held_out: int = Field(ge=0, description="test sentences in held-out voices")
    handwritten: bool = Field(description="the hand-written sentences, in both kinds of voice")
    joined: int = Field(ge=0, description="test clips of up to 15 s, and as many of up to 30 s")
    nonspeech_train: int = Field(ge=0, description="training clips without speech")
    nonspeech_dev: int = Field(ge=0, description="development clips without speech")
    nonspeech_test: int = Field(ge=0, description="test clips without speech")


@dataclass(frozen=True, slots=True)
class PlannedClip:
    """One clip to make.

    Attributes:
        id: stable; the split is its first part.
        kind: `sentence`, `nonspeech` or `joined`.
        source: `generator`, `handwritten` or `nonspeech`.
        text: the transcript; empty without speech.
        voice: who speaks (sentences only).
        held_out: the voice is one that training never hears.
        parts: ids of the clips that a joined clip is made of.
        pauses_s: silence after each part.
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
        """`train`, `dev` or `test`."""
        return self.id.split("-", 1)[0]


def random_stream(seed: int, clip_id: str) -> np.random.Generator:
    """Return the random generator that belongs to one clip, whoever makes it and when."""
    digest = hashlib.sha256(clip_id.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])


def split_of(sentence: str) -> str:
    """Return the split that a sentence belongs to, by the hash of its words alone."""
    digest = hashlib.sha256(normalize(sentence).encode()).digest()
    share = int.from_bytes(digest[:4], "big") / 2**32
    if share < _TEST_SHARE:
        return "test"
    return "dev" if share < _TEST_SHARE + _DEV_SHARE else "train"


def handwritten_sentences() -> list[str]:
    """Return the test sentences that people wrote, in order."""
    text = (resources.files("megaasr.synthesize") / "data" / "handwritten.txt").read_text("utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]


def plan_corpus(recipe: CorpusRecipe) -> list[PlannedClip]:
    """Return every clip of the corpus: sentences, sounds without speech, then joined clips."""
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
    wanted = {
        "train": recipe.train,
        "dev": recipe.dev,
        "test": recipe.test + recipe.test_held_out,
    }
    by_split = _sentences_by_split(recipe.seed, wanted)
    for split in SPLITS:
        for number, text in enumerate(by_split[split]):
            held_out = split == "test" and number >= recipe.test
            yield _sentence(recipe.seed, f"{split}-s{number:06d}", "generator", text, held_out)
    for number, text in enumerate(handwritten_sentences() if recipe.handwritten else []):
        yield _sentence(recipe.seed, f"test-h{number:06d}", "handwritten", text, False)
        yield _sentence(recipe.seed, f"test-h{number:06d}x", "handwritten", text, True)


def _sentence(seed: int, clip_id: str, source: str, text: str, held_out: bool) -> PlannedClip:
    voice = draw_voice(random_stream(seed, clip_id), held_out=held_out)
    return PlannedClip(clip_id, "sentence", source, text, voice, held_out)


def _sentences_by_split(seed: int, wanted: dict[str, int]) -> dict[str, list[str]]:
    """Generate until every split has enough; the hash alone decides where a sentence goes."""
    share = {"test": _TEST_SHARE, "dev": _DEV_SHARE, "train": 1 - _TEST_SHARE - _DEV_SHARE}
    count = max(int(1.1 * wanted[split] / share[split]) + 50 for split in SPLITS)
    found: dict[str, list[str]] = {split: [] for split in SPLITS}
    # A hand-written sentence that the generator happens to make would leak into training.
    banned = {normalize(sentence) for sentence in handwritten_sentences()}
    while True:
        for split in SPLITS:
            found[split].clear()
        for sentence in generate_sentences(count, seed):
            if normalize(sentence) not in banned:
                found[split_of(sentence)].append(sentence)
        if all(len(found[split]) >= wanted[split] for split in SPLITS):
            return {split: found[split][: wanted[split]] for split in SPLITS}
        count = int(count * 1.3)


def _planned_joins(recipe: CorpusRecipe, sentences: list[PlannedClip]) -> Iterator[PlannedClip]:
    """Test clips of several sentences, trained voices, with pauses between them."""
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
    """Take sentences in random order while they surely fit."""
    parts: list[PlannedClip] = []
    pauses: list[float] = []
    room_s = limit_s
    for index in rng.permutation(len(pool)):
        clip, pause_s = pool[int(index)], round(float(rng.uniform(0.3, 1.2)), 3)
        stretch = clip.voice.stretch if clip.voice else 1.0
        # 0.45 s a word is slow at natural tempo; the limits leave room for the slowest voices.
        need_s = (0.45 * len(clip.text.split()) + 0.5) * stretch + pause_s
        if need_s > room_s:
            break
        parts.append(clip)
        pauses.append(pause_s)
        room_s -= need_s
    return parts, pauses
