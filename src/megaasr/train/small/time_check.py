"""Measures the word times of `small` against the alignment of the same speech by CTC.

Both rest on the same projector, so the reference is no independent truth; a phoneme's frame is
about right even where the phoneme itself is taken for another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from megaasr.audio import files
from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.records import Segment, read_manifest
from megaasr.text.error_rate import align_tokens
from megaasr.train.input_check import InputCheck
from megaasr.train.small.alignment import align_words
from megaasr.train.small.frames import FrozenEncoder
from megaasr.train.small.lexicon import Lexicon, spoken_words
from megaasr.train.small.phoneme_ctc import PhonemeCTC, load_trained_ctc
from megaasr.train.small.stem import GEOMETRY
from megaasr.transcribe.recognizer import MegaASR

_MAX_CLIP_S = 29.0
TimedWord = tuple[str, float, float]
"""A word in lower case with its start and end in seconds."""


@dataclass(slots=True)
class TimeErrors:
    """Deviations of the words that were recognized correctly, in seconds; late is positive.

    Attributes:
        starts: deviations of the starts.
        ends: deviations of the ends.
    """

    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

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


def check_times(
    run: Path, manifest: Path, lexicon: Path, limit: int | None = None
) -> dict[str, TimeErrors]:
    """Return the errors of word times by attention (`model`) and by estimates (`off`).

    Args:
        run: run folder of `mega-asr train decoder`.
        manifest: manifest of clips with their references.
        lexicon: file written by `mega-asr train lexicon`.
        limit: maximum number of clips, from the start of the manifest; None for all.

    Raises:
        TrainingError: an input is missing.
    """
    check = InputCheck()
    command = "make human-test, or mega-asr manifest"
    check.require(manifest.is_file(), f"{manifest} does not exist", command)
    check.finish()
    pronunciations = Lexicon.load(lexicon)
    ctc, encoder = load_trained_ctc(run), FrozenEncoder(run / "model")
    kinds = ("model", "off")
    recognizers = {kind: MegaASR.from_pretrained(run / "model", align=kind) for kind in kinds}
    errors = {kind: TimeErrors() for kind in kinds}
    for utterance in list(read_manifest(manifest))[:limit]:
        phonemes = pronunciations.pronounce(utterance.text)
        samples = files.read(manifest.parent / utterance.audio, sample_rate=SAMPLE_RATE).samples
        if not phonemes or samples.size > _MAX_CLIP_S * SAMPLE_RATE:
            continue
        words = list(zip(spoken_words(utterance.text), phonemes, strict=True))
        reference = _align(ctc, encoder, samples, words)
        for kind, recognizer in recognizers.items():
            transcript = recognizer.transcribe(samples, sample_rate=SAMPLE_RATE)
            errors[kind].add(reference, list(_timed_words(transcript.segments)))
    return errors


def _align(
    ctc: PhonemeCTC, encoder: FrozenEncoder, samples: Samples, words: Sequence[tuple[str, str]]
) -> list[TimedWord]:
    log_probs = ctc.frame_log_probs(encoder([samples])[0])
    frames_per_s = GEOMETRY.tokens_per_s
    return [
        (word.text, word.bounds[0] / frames_per_s, word.bounds[-1] / frames_per_s)
        for word in align_words(words, log_probs, 0)
    ]


def _timed_words(segments: Iterable[Segment]) -> Iterable[TimedWord]:
    for segment in segments:
        for word in segment.words:
            texts = spoken_words(word.text)
            if texts and word.start is not None and word.end is not None:
                yield texts[0], word.start, word.end
