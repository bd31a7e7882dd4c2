"""How far the times of recognised words are from those of a reference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.records import Segment
from megaasr.text.bare_words import bare_word
from megaasr.text.error_rate import align_tokens
from megaasr.transcribe.recognizer import MegaASR

_SILENCE_S = 0.5
TimedWord = tuple[str, float, float]
"""A word in lower case without punctuation around it, with its start and end in seconds."""


@dataclass(slots=True)
class TimeErrors:
    """Deviations of the words that were recognised correctly, in seconds; late is positive.

    Attributes:
        starts: deviations of the starts.
        ends: deviations of the ends.
        without_duration: number of recognised words that end when they start, or before.
        in_silence: number of recognised words, right or wrong, that do not touch a word of the
            reference within 0.5 s.
        words: number of recognised words.
    """

    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    without_duration: int = 0
    in_silence: int = 0
    words: int = 0

    def add(self, reference: Sequence[TimedWord], hypothesis: Sequence[TimedWord]) -> None:
        """Compare the words of a clip that are the same in both, in order."""
        spoken, recognized = iter(reference), iter(hypothesis)
        steps = align_tokens([word for word, _, _ in reference], [w for w, _, _ in hypothesis])
        for step in steps:
            expected = None if step.reference is None else next(spoken)
            word = None if step.hypothesis is None else next(recognized)
            if step.kind == "hit" and expected is not None and word is not None:
                self.starts.append(word[1] - expected[1])
                self.ends.append(word[2] - expected[2])
        self.words += len(hypothesis)
        self.without_duration += sum(end <= start for _, start, end in hypothesis)
        self.in_silence += sum(_is_in_silence(word, reference) for word in hypothesis)


def measure_time_errors(
    recognizers: Mapping[str, MegaASR], clips: Iterable[tuple[Samples, Sequence[TimedWord]]]
) -> dict[str, TimeErrors]:
    """Transcribe clips and return the errors of each recogniser's word times.

    Args:
        recognizers: recognisers by name.
        clips: audio, float32 of shape [time], 16 kHz mono, and its reference words.
    """
    errors = {name: TimeErrors() for name in recognizers}
    for samples, reference in clips:
        for name, recognizer in recognizers.items():
            transcript = recognizer.transcribe(samples, sample_rate=SAMPLE_RATE)
            errors[name].add(reference, list(_timed_words(transcript.segments)))
    return errors


def _timed_words(segments: Iterable[Segment]) -> Iterator[TimedWord]:
    for segment in segments:
        for word in segment.words:
            text = bare_word(word.text)
            if text and word.start is not None and word.end is not None:
                yield text, word.start, word.end


def _is_in_silence(word: TimedWord, reference: Sequence[TimedWord]) -> bool:
    _, start, end = word
    return not any(s - _SILENCE_S < end and start < e + _SILENCE_S for _, s, e in reference)
