"""Which words of a hypothesis are correct, and with what probability the model recognised them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.clips import read_clip
from megaasr.audio.waveform import Waveform
from megaasr.errors import AudioError, UsageError
from megaasr.progress import OnRemarkedProgress
from megaasr.records import Transcript, Word
from megaasr.score.intervals import Floats
from megaasr.score.test_set import TestClip, TestSetFile
from megaasr.text.error_rate import align
from megaasr.text.languages import join_texts
from megaasr.text.normalize import tokens
from megaasr.transcribe.segment_facts import Calibrate, SegmentFacts

if TYPE_CHECKING:
    from megaasr.transcribe.recognizer import MegaASR


def correct_words(
    reference: str, words: Sequence[str], language: str | None, normalizer: str = "bench"
) -> list[bool] | None:
    """Return, for each word of a hypothesis, whether it matches the reference.

    Args:
        reference: the correct transcript.
        words: the words of the hypothesis, in order.
        language: ISO code; None if unknown.
        normalizer: name of a normaliser, see `megaasr.text.normalize`.

    Returns:
        One flag per word; a word of which the normaliser leaves nothing counts as correct. None if
        the normaliser joins words, so that errors cannot be assigned to single words.
    """
    tokens_by_word = [tokens(word, language=language, normalizer=normalizer) for word in words]
    text = join_texts((word, language) for word in words)
    if [token for parts in tokens_by_word for token in parts] != list(
        tokens(text, language=language, normalizer=normalizer)
    ):
        return None
    steps = align(reference, text, language=language, normalizer=normalizer)
    hits = iter([step.kind == "hit" for step in steps if step.hypothesis is not None])
    # Sum instead of `all`, since every token of a word must be taken, also after a miss.
    return [sum(next(hits) for _ in parts) == len(parts) for parts in tokens_by_word]


@dataclass(frozen=True, slots=True)
class ClipWords:
    """The words that a model recognised in a clip.

    Attributes:
        segments: words of each segment; their confidence is the model's probability, uncalibrated.
        facts: facts about each segment that the confidence depends on.
        correct: for each segment, whether each of its words matches the reference.
        reference_length: number of tokens in the reference.
        severity: severity of the clip's degradation, 0..1; None if unknown.
    """

    segments: tuple[tuple[Word, ...], ...]
    facts: tuple[SegmentFacts, ...]
    correct: tuple[tuple[bool, ...], ...]
    reference_length: int
    severity: float | None = None

    @property
    def probabilities(self) -> list[float]:
        """The model's probability of every word."""
        return [word.confidence or 0.0 for words in self.segments for word in words]

    @property
    def facts_of_words(self) -> list[SegmentFacts]:
        """The facts about the segment of every word."""
        pairs = zip(self.segments, self.facts, strict=True)
        return [facts for words, facts in pairs for _ in words]

    @property
    def hits(self) -> list[bool]:
        """Whether every word is correct."""
        return [flag for flags in self.correct for flag in flags]


@dataclass(frozen=True, slots=True, eq=False)
class WordProbabilities:
    """The words that a model recognised in clips with references.

    Attributes:
        clips: words of each clip in which the model recognised any, or should have.
        failed: reasons why clips could not be transcribed, by id.
    """

    clips: tuple[ClipWords, ...]
    failed: dict[str, str]

    @property
    def probabilities(self) -> Floats:
        """The model's probability of each word, not calibrated: float64 of shape [words]."""
        return np.array([value for clip in self.clips for value in clip.probabilities])

    @property
    def facts(self) -> list[SegmentFacts]:
        """The facts about the segment of each word."""
        return [facts for clip in self.clips for facts in clip.facts_of_words]

    def confidences(self, calibration: Calibrate) -> Floats:
        """Return the confidence of each word, 0..1: float64 of shape [words]."""
        values = zip(self.probabilities.tolist(), self.facts, strict=True)
        return np.array([calibration(probability, facts) for probability, facts in values])

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each word matches the reference: bool of shape [words]."""
        return np.array([flag for clip in self.clips for flag in clip.hits])

    def within(self, low: float, high: float) -> WordProbabilities:
        """Return the words of the clips with a severity from `low` to below `high`.

        Args:
            low: lowest severity.
            high: severity that is too high.
        """
        clips = (c for c in self.clips if c.severity is not None and low <= c.severity < high)
        return WordProbabilities(tuple(clips), self.failed)


def measure_word_probabilities(
    asr: MegaASR,
    test_set: TestSetFile,
    *,
    on_progress: OnRemarkedProgress = lambda done, total, remark: None,
) -> WordProbabilities:
    """Return the model's probability of each recognised word, and whether the word is correct.

    Clips without a reference, and clips that cannot be transcribed, do not count.

    Args:
        asr: the recogniser.
        test_set: clips with references.
        on_progress: called after every clip.

    Raises:
        UsageError: not a word was recognised.
    """
    uncalibrated = asr.with_uncalibrated_confidence()
    clips: list[ClipWords] = []
    failed: dict[str, str] = {}
    started: deque[TestClip] = deque()  # clips whose outcome has not come yet

    def waveforms() -> Iterator[Waveform]:
        for clip in test_set.clips:
            try:
                waveform = read_clip(test_set.audio_root, clip.audio)
            except AudioError as error:
                failed[clip.id] = str(error)
                continue
            started.append(clip)
            yield waveform

    for index, outcome in enumerate(uncalibrated.transcribe_many(waveforms())):
        clip = started.popleft()
        on_progress(index + 1, len(test_set.clips), test_set.path.name)
        if outcome.transcript is None:
            failed[clip.id] = str(outcome.error)
            continue
        if not clip.text:
            continue
        words = _clip_words(clip, outcome.transcript)
        if words is not None:
            clips.append(words)
    if not any(clip.probabilities for clip in clips):
        reason = f" ({next(iter(failed.values()))})" if failed else ""
        raise UsageError(f"{test_set.path}: not a word was recognised{reason}")
    return WordProbabilities(tuple(clips), failed)


def _clip_words(clip: TestClip, transcript: Transcript) -> ClipWords | None:
    """Return the words of a clip; None if their probabilities or errors are unknown."""
    segments = tuple(segment.words for segment in transcript.segments)
    words = [word for segment in segments for word in segment]
    flags = correct_words(clip.text, [word.text for word in words], clip.language)
    # A model that gives no probabilities has words without confidence.
    if flags is None or any(word.confidence is None for word in words):
        return None
    remaining = iter(flags)
    correct = tuple(tuple(islice(remaining, len(segment))) for segment in segments)
    length = len(tokens(clip.text, language=clip.language, normalizer="bench"))
    facts = tuple(
        SegmentFacts(segment.mean_logprob, segment.degraded_probability)
        for segment in transcript.segments
    )
    return ClipWords(segments, facts, correct, length, clip.severity)
