"""Measures the word times of a model against known ones.

Known are the times in records that were synthesised (`megaasr.synthesize.spoken_words`). For other
speech, `small` aligns it by CTC: both rest on the same projector, so that reference is no
independent truth; a phoneme's frame is about right even where the phoneme itself is taken for
another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from megaasr.audio import files
from megaasr.audio.clips import read_clip
from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.records import read_manifest
from megaasr.records.timed_words import read_timed_words
from megaasr.text.bare_words import bare_word
from megaasr.train.input_check import InputCheck
from megaasr.train.small.alignment import align_words
from megaasr.train.small.frames import FrozenEncoder
from megaasr.train.small.lexicon import Lexicon, spoken_words
from megaasr.train.small.phoneme_ctc import PhonemeCTC, load_trained_ctc
from megaasr.train.small.stem import GEOMETRY
from megaasr.transcribe.recognizer import MegaASR
from megaasr.transcribe.time_errors import (
    TimedWord,
    TimeErrors,
    measure_time_errors,
)

_KINDS = ("model", "off")
_MAX_CLIP_S = 29.0


def check_spoken_times(
    model: str, manifest: Path, limit: int | None = None
) -> dict[str, TimeErrors]:
    """Return the errors of word times by attention (`model`) and by estimates (`off`).

    Args:
        model: name or folder of a model.
        manifest: manifest of clips whose records list their words with times; others are left out.
        limit: maximum number of clips, from the start of the manifest; None for all.

    Raises:
        TrainingError: no record lists words with times.
    """
    records = ((u, read_timed_words(u.extra)) for u in read_manifest(manifest))
    timed = [(utterance, words) for utterance, words in records if words][:limit]
    check = InputCheck()
    needed = f"{manifest}: no record lists its words with times"
    check.require(bool(timed), needed, "mega-asr synthesize, with flite; or give --lexicon")
    check.finish()
    recognizers = {kind: MegaASR.from_pretrained(model, align=kind) for kind in _KINDS}

    def clips() -> Iterator[tuple[Samples, list[TimedWord]]]:
        for utterance, words in timed:
            bare = [(bare_word(text), start, end) for text, start, end in words]
            yield read_clip(manifest.parent, utterance.audio).samples, bare

    return measure_time_errors(recognizers, clips())


def check_aligned_times(
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
    recognizers = {kind: MegaASR.from_pretrained(run / "model", align=kind) for kind in _KINDS}

    def clips() -> Iterator[tuple[Samples, list[TimedWord]]]:
        for utterance in list(read_manifest(manifest))[:limit]:
            phonemes = pronunciations.pronounce(utterance.text)
            samples = files.read(manifest.parent / utterance.audio, sample_rate=SAMPLE_RATE).samples
            if phonemes and samples.size <= _MAX_CLIP_S * SAMPLE_RATE:
                words = list(zip(spoken_words(utterance.text), phonemes, strict=True))
                yield samples, _align(ctc, encoder, samples, words)

    return measure_time_errors(recognizers, clips())


def _align(
    ctc: PhonemeCTC, encoder: FrozenEncoder, samples: Samples, words: Sequence[tuple[str, str]]
) -> list[TimedWord]:
    log_probs = ctc.frame_log_probs(encoder([samples])[0])
    frames_per_s = GEOMETRY.tokens_per_s
    return [
        (word.text, word.bounds[0] / frames_per_s, word.bounds[-1] / frames_per_s)
        for word in align_words(words, log_probs, 0)
    ]
