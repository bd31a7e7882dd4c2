"""Measure a recording for `mega-asr inspect`: its channels, its speech, and what is wrong."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.conditioning import without_low_frequencies
from megaasr.audio.decoding import source_format
from megaasr.audio.diagnosis import Problem, SpeechOutlook, diagnose
from megaasr.audio.files import blocks
from megaasr.audio.notes import AudioNotes
from megaasr.audio.quality import Quality, measure_quality, scaled_mono
from megaasr.audio.selection import Selection
from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.transcribe.checks import DEFAULT_THRESHOLDS
from megaasr.transcribe.chunking import NO_SPEECH_THRESHOLD, SPEECH_THRESHOLD
from megaasr.transcribe.speech_activity import detect_speech

_MAX_S = 1800.0
_NOTE_NAMES = {
    "truncated": "missing_sound",
    "damaged": "missing_sound",
    "repaired": "repaired_file",
    "rescaled": "over_full_scale",
    "tracks": "several_tracks",
    "times": "time_stamps",
}
_NOTE_ADVICE = {"tracks": " --track selects one.", "rescaled": " transcribe does so, too."}
_LOSSLESS = {"WAV", "WAVEX", "RF64", "W64", "FLAC", "AIFF", "CAF"}  # of libsndfile


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """What `mega-asr inspect` learned about a recording.

    Attributes:
        mono: the sound that was measured, 16 kHz mono.
        speech: probability of speech in every frame of 32 ms, float32 of shape [frames].
        quality: the measures.
        problems: what is wrong, the gravest first.
    """

    mono: Samples
    speech: NDArray[np.float32]
    quality: Quality
    problems: list[Problem]


def inspect_recording(audio: str) -> Inspection:
    """Measure the first half hour of a recording.

    Speech is what `mega-asr transcribe` takes for speech, and there is too little of it where
    `mega-asr transcribe` would skip the recording or label its text.

    Args:
        audio: path of the recording, or `-` for standard input.

    Raises:
        AudioError: the recording cannot be read.
        UsageError: it is shorter than 32 ms.
    """
    channels, rate, notes = _read_channels(audio)
    mono = scaled_mono(channels, rate)
    # As in transcription: strong hum would hide the speech from the detector.
    speech = detect_speech(np.concatenate(list(without_low_frequencies(iter([mono])))))
    quality = measure_quality(channels, rate, mono, speech >= SPEECH_THRESHOLD)
    probability = float(speech.max(initial=0.0))
    outlook = SpeechOutlook(
        skipped=probability < NO_SPEECH_THRESHOLD,
        doubtful=probability < DEFAULT_THRESHOLDS.speech_not_detected,
    )
    problems = [*_file_problems(notes), *diagnose(quality, outlook)]
    return Inspection(mono, speech, quality, problems)


def _read_channels(audio: str) -> tuple[NDArray[np.float32], int, AudioNotes]:
    """Return the samples [channels, time], their rate, and what was unusual about the recording.

    Files without compression loss are measured at their own rate, others at 16 kHz.
    """
    notes = AudioNotes(audio)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are told among the problems
        count, rate = source_format(audio)
        if not _is_lossless(audio):
            rate = SAMPLE_RATE
        channels = [
            _first_half_hour(
                blocks(
                    audio,
                    sample_rate=rate,
                    selection=Selection(channels=number),
                    notes=notes if number == 1 else None,
                ),
                rate,
            )
            for number in range(1, count + 1)
        ]
    length = min(len(samples) for samples in channels)
    return np.stack([samples[:length] for samples in channels]), rate, notes


def _is_lossless(audio: str) -> bool:
    import soundfile

    try:
        return soundfile.info(audio).format in _LOSSLESS
    except (soundfile.LibsndfileError, OSError, TypeError):
        return False


def _first_half_hour(parts: Iterator[Samples], rate: int) -> Samples:
    limit = int(_MAX_S * rate)
    samples: list[Samples] = []
    length = 0
    for part in parts:
        samples.append(part)
        length += len(part)
        if length >= limit:
            break
    return np.concatenate(samples)[:limit]


def _file_problems(notes: AudioNotes) -> list[Problem]:
    """Return what is wrong with the file itself."""
    return [
        Problem(
            _NOTE_NAMES[note.kind],
            f"{note.message[0].upper()}{note.message[1:]}.{_NOTE_ADVICE.get(note.kind, '')}",
        )
        for note in notes
        if note.kind in _NOTE_NAMES
    ]
