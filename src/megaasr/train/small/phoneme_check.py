"""Measures what the projector of `small` hears: the phoneme error rate of its greedy CTC path."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from megaasr.audio import files
from megaasr.records import read_manifest
from megaasr.text.error_rate import ErrorCounts, align_tokens, count_token_errors
from megaasr.train.input_check import InputCheck
from megaasr.train.small.frames import FrozenEncoder
from megaasr.train.small.lexicon import PHONEMES, Lexicon
from megaasr.train.small.phoneme_ctc import load_trained_ctc

PHONEME_CLASSES = {
    "vowel": "aæɑɔəɚɛeiɪuʊʌ",
    "plosive": "pbtdkg",
    "fricative": "fvθðszʃʒh",
    "nasal": "mnŋ",
    "approximant": "lɹwj",
}
"""The phonemes by manner of articulation; an affricate is a plosive and a fricative."""


@dataclass(slots=True)
class PhonemeCheck:
    """Errors of the greedy CTC path over the clips of a manifest.

    Attributes:
        clips: number of clips.
        unpronounced: number of clips that were left out, because the lexicon lacks a word.
        errors: errors of all phonemes.
        missed: number of substituted and deleted phonemes by class (`PHONEME_CLASSES`).
        spoken: number of phonemes of the references by class.
    """

    clips: int = 0
    unpronounced: int = 0
    errors: ErrorCounts = field(default_factory=ErrorCounts)
    missed: Counter[str] = field(default_factory=Counter)
    spoken: Counter[str] = field(default_factory=Counter)

    def add(self, reference: str, hypothesis: str) -> None:
        """Count the errors of a clip, given as strings of `PHONEMES`."""
        self.clips += 1
        self.errors += count_token_errors(reference, hypothesis)
        for step in align_tokens(reference, hypothesis):
            if step.reference is not None:
                name = _class_of(step.reference)
                self.spoken[name] += 1
                self.missed[name] += step.kind != "hit"


def check_phonemes(
    run: Path, manifest: Path, lexicon: Path, limit: int | None = None
) -> PhonemeCheck:
    """Recognise the phonemes of a manifest's clips, and compare them with the lexicon's.

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
    ctc = load_trained_ctc(run)
    encoder = FrozenEncoder(run / "model")
    result = PhonemeCheck()
    for utterance in list(read_manifest(manifest))[:limit]:
        reference = pronunciations.pronounce(utterance.text)
        if reference is None:
            result.unpronounced += 1
            continue
        samples = files.read(manifest.parent / utterance.audio).samples
        path = ctc.frame_log_probs(encoder([samples])[0]).argmax(-1).tolist()
        result.add("".join(reference), greedy_phonemes(path))
    return result


def greedy_phonemes(path: list[int]) -> str:
    """Return the phonemes of a CTC path: repetitions count once, then blanks (0) are dropped."""
    return "".join(PHONEMES[label - 1] for label, _ in groupby(path) if label)


def _class_of(phoneme: str) -> str:
    return next(name for name, members in PHONEME_CLASSES.items() if phoneme in members)
