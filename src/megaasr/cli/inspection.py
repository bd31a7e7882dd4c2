"""Measure a recording for `mega-asr inspect`: its channels, its speech, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.conditioning import without_low_frequencies
from megaasr.audio.diagnosis import Problem, SpeechOutlook, diagnose
from megaasr.audio.files import read
from megaasr.audio.quality import Quality, measure_quality, scaled_mono
from megaasr.audio.waveform import Samples
from megaasr.transcribe.checks import DEFAULT_THRESHOLDS
from megaasr.transcribe.chunking import NO_SPEECH_THRESHOLD, SPEECH_THRESHOLD
from megaasr.transcribe.speech_activity import detect_speech

_MAX_S = 1800.0
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
    channels, rate = _read_channels(audio)
    mono = scaled_mono(channels, rate)
    # As in transcription: strong hum would hide the speech from the detector.
    speech = detect_speech(np.concatenate(list(without_low_frequencies(iter([mono])))))
    quality = measure_quality(channels, rate, mono, speech >= SPEECH_THRESHOLD)
    probability = float(speech.max(initial=0.0))
    outlook = SpeechOutlook(
        skipped=probability < NO_SPEECH_THRESHOLD,
        doubtful=probability < DEFAULT_THRESHOLDS.speech_not_detected,
    )
    return Inspection(mono, speech, quality, diagnose(quality, outlook))


def _read_channels(audio: str) -> tuple[NDArray[np.float32], int]:
    """Return the samples [channels, time] and their rate.

    Files without compression loss give their channels as they are; others are measured as `read`
    mixes them, which detects missing parts.
    """
    import soundfile

    try:
        with soundfile.SoundFile(audio) as file:
            rate = int(file.samplerate)
            if file.format in _LOSSLESS:
                samples = file.read(int(_MAX_S * rate), dtype="float32", always_2d=True).T
                if samples.size and np.isfinite(samples).all():
                    return np.ascontiguousarray(samples), rate
    except (soundfile.LibsndfileError, OSError, TypeError):
        pass  # `read` knows more formats, and says what is wrong with a file
    waveform = read(audio)
    limit = int(_MAX_S * waveform.sample_rate)
    return waveform.samples[np.newaxis, :limit], waveform.sample_rate
