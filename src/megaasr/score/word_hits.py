"""Which words of a hypothesis are correct, and with what probability the model recognised them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.clips import read_clip
from megaasr.audio.waveform import Waveform
from megaasr.errors import AudioError, UsageError
from megaasr.progress import OnRemarkedProgress
from megaasr.score.intervals import Floats
from megaasr.score.test_set import TestClip, TestSetFile
from megaasr.text.error_rate import align
from megaasr.text.languages import join_texts
from megaasr.text.normalize import tokens

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


@dataclass(frozen=True, slots=True, eq=False)
class WordProbabilities:
    """The words that a model recognised in clips with references.

    Attributes:
        probabilities: float64 array of shape [words]: the model's probability of each word, not
            calibrated.
        correct: bool array of shape [words]: whether each word matches the reference.
        failed: reasons why clips could not be transcribed, by id.
    """

    probabilities: Floats
    correct: NDArray[np.bool_]
    failed: dict[str, str]


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
    probabilities: list[float] = []
    correct: list[bool] = []
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
        words = [word for segment in outcome.transcript.segments for word in segment.words]
        flags = correct_words(clip.text, [word.text for word in words], clip.language)
        # A model that gives no probabilities has words without confidence.
        confidences = [word.confidence for word in words if word.confidence is not None]
        if flags is not None and len(confidences) == len(words):
            probabilities += confidences
            correct += flags
    if not probabilities:
        reason = f" ({next(iter(failed.values()))})" if failed else ""
        raise UsageError(f"{test_set.path}: not a word was recognised{reason}")
    return WordProbabilities(np.array(probabilities), np.array(correct), failed)
